// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package ggml reads what whisper.cpp's converters write: GGML's format from before
// GGUF, files ".bin".
//
// Such a file is the magic 0x67676d6c, numbers of the program that wrote it, and
// tensors up to the end of the file. Only the magic is common: how many numbers
// there are, and what follows them, each program knows for itself. Three layouts are
// read, those of whisper.cpp's models/convert-pt-to-ggml.py (Whisper),
// convert-silero-vad-to-ggml.py (Silero's VAD) and convert-parakeet-to-ggml.py
// (Parakeet); which one it is, its contents say. Any other one is refused, as are
// llama.cpp's old formats of other magics.
//
// A tensor is three numbers of 32 bits (dimensions, length of the name, type), the
// dimensions, innermost first, the name, and the data, which are not aligned.
// Everything is little-endian. What lies between the numbers and the tensors (mel
// filters, a window, the vocabulary) is passed over.
//
// Blocks of quantised types are today's since version 2 of the quantisation, which is
// the thousands of the file's type; files of older versions are refused where their
// blocks are others. A layout without that number is not quantised.
package ggml
