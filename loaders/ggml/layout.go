// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package ggml

import (
	"encoding/binary"
	"strings"

	"github.com/modelfs/modelfs/loaders/malformed"
)

// What is before the tensors, at the most. Whisper has 51,866 tokens of up to some
// hundred bytes.
const (
	maxTokens = 1 << 18
	maxToken  = 1 << 10
	maxType   = 64 // of a Silero model
	maxLayers = 1 << 10
)

// layout is one program's: read passes over what is before the tensors.
type layout struct {
	fits func(begin []byte) bool
	read func(*parser) error
}

// beginSize is how many bytes of a file the layouts tell themselves by.
const beginSize = 72

// layouts are told apart by numbers that are there twice, of which one layout has
// the second one where the others have something else, and Silero's by its name.
var layouts = []layout{
	{isSilero, (*parser).silero},
	{isParakeet, (*parser).parakeet},
	{isWhisper, (*parser).whisper},
}

// number is the i-th of the numbers after the magic.
func number(begin []byte, i int) uint32 { return binary.LittleEndian.Uint32(begin[4+4*i:]) }

func isSilero(begin []byte) bool { return strings.HasPrefix(string(begin[8:]), "silero") }

// isParakeet: the filters are as many as n_mels says and have n_fft/2 + 1 numbers.
func isParakeet(begin []byte) bool {
	return number(begin, 5) > 0 && number(begin, 15) == number(begin, 5) && number(begin, 16) == number(begin, 7)/2+1
}

// isWhisper: the filters are as many as n_mels says.
func isWhisper(begin []byte) bool {
	return number(begin, 9) > 0 && number(begin, 11) == number(begin, 9)
}

// layout passes over all that is before the tensors.
func (p *parser) layout(begin []byte) error {
	var found *layout
	for i := range layouts {
		if !layouts[i].fits(begin) {
			continue
		}
		if found != nil {
			found = nil
			break
		}
		found = &layouts[i]
	}
	if found == nil {
		return malformed.At(format, 4, "its layout is unknown: only whisper.cpp's for Whisper, Silero and Parakeet are read; convert other models to GGUF")
	}
	return found.read(p)
}

// The numbers before and behind the file's type, as the converters call them.
var (
	whisperNumbers = []string{
		"n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer",
		"n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels",
	}
	parakeetBefore = []string{"n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_mels"}
	parakeetBehind = []string{"n_fft", "subsampling_factor", "n_subsampling_channels", "n_conv_kernel", "n_pred_dim", "n_pred_layers"}
	sileroNumbers  = []string{"the major version", "the minor version", "the patch version", "the window", "the context"}
	sileroLayer    = []string{"a layer's input", "a layer's output", "a layer's kernel"}
	sileroBehind   = []string{"the LSTM's input", "the LSTM's hidden size", "the last convolution's input", "the last convolution's output"}
)

// whisper: 11 numbers, the mel filters, the tokens.
func (p *parser) whisper() error {
	return p.steps(
		func() error { return p.numbers(whisperNumbers, 0) },
		p.fileType,
		p.filters,
		p.tokens,
	)
}

// parakeet: 15 numbers, the mel filters, the window, the durations, the tokens. Its
// numbers are positive: a file with an n_fft of 0 has no window, and crashed readers.
func (p *parser) parakeet() error {
	var durations uint32
	return p.steps(
		func() error { return p.numbers(parakeetBefore, 1) },
		p.fileType,
		func() error { return p.numbers(parakeetBehind, 1) },
		func() (err error) { durations, err = p.count("n_tdt_durations", 1); return err },
		func() error { return p.numbers([]string{"n_max_tokens"}, 1) },
		p.filters,
		p.window,
		func() error { return p.Skip(4 * uint64(durations)) },
		p.tokens,
	)
}

// silero: the model's type as text, 5 numbers, the encoder's layers with three
// numbers each, 4 numbers.
func (p *parser) silero() error {
	return p.steps(
		func() error { return p.text(maxType) },
		func() error { return p.numbers(sileroNumbers, 0) },
		p.layers,
		func() error { return p.numbers(sileroBehind, 0) },
	)
}

func (p *parser) layers() error {
	n, err := p.count("the number of layers", 0)
	if err == nil && n > maxLayers {
		err = malformed.At(format, p.Pos()-4, "%d layers, over the limit of %d", n, maxLayers)
	}
	for range n {
		if err != nil {
			return err
		}
		err = p.numbers(sileroLayer, 0)
	}
	return err
}

// steps takes the steps up to the first that fails.
func (p *parser) steps(all ...func() error) error {
	for _, step := range all {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// count reads a number that is at least least.
func (p *parser) count(name string, least int32) (uint32, error) {
	at := p.Pos()
	v, err := p.U32()
	if err == nil && int32(v) < least {
		err = malformed.At(format, at, "%s is %d, below %d", name, int32(v), least)
	}
	return v, err
}

// numbers passes over counts.
func (p *parser) numbers(names []string, least int32) error {
	for _, name := range names {
		if _, err := p.count(name, least); err != nil {
			return err
		}
	}
	return nil
}

// filters passes over a matrix of floats, behind its rows and columns.
func (p *parser) filters() error {
	rows, err := p.count("the number of mel filters", 1)
	if err != nil {
		return err
	}
	columns, err := p.count("the size of a mel filter", 1)
	if err != nil {
		return err
	}
	n := uint64(rows) * uint64(columns) // below 2^62
	if n > uint64(p.Left())/4 {
		return p.Errorf("%d by %d mel filters do not fit into the %d bytes that are left", rows, columns, p.Left())
	}
	return p.Skip(4 * n)
}

// window passes over a list of floats, behind its length.
func (p *parser) window() error {
	n, err := p.count("the window", 1)
	if err != nil {
		return err
	}
	return p.Skip(4 * uint64(n))
}

// text passes over a text, behind its length.
func (p *parser) text(limit uint32) error {
	n, err := p.U32()
	if err == nil && n > limit {
		err = malformed.At(format, p.Pos()-4, "a text of %d bytes, over the limit of %d", n, limit)
	}
	if err != nil {
		return err
	}
	return p.Skip(uint64(n))
}

// tokens passes over the vocabulary. There may be fewer than the model has: Whisper's
// special ones are not written.
func (p *parser) tokens() error {
	n, err := p.count("the number of tokens", 0)
	switch {
	case err != nil:
		return err
	case n > maxTokens:
		return malformed.At(format, p.Pos()-4, "%d tokens, over the limit of %d", n, maxTokens)
	case int64(n) > p.Left()/4:
		return malformed.At(format, p.Pos()-4, "%d tokens do not fit into the %d bytes that are left", n, p.Left())
	}
	for range n {
		if err := p.text(maxToken); err != nil {
			return err
		}
	}
	return nil
}
