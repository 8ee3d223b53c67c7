// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

const (
	objectsScript = "objects.py"
	whisperName   = "whisper-base"
	whisperBytes  = 300 << 20 // and somewhat less
)

func needObjects(plan) room {
	// On the disk as safetensors and by torch.save; in memory as a model and as an
	// object, and once more in each peer and in the page cache.
	return room{disk: 2 * whisperBytes, memory: 6 * whisperBytes}
}

// measureObjects: whisper-base in a process that has its imports, by get_or_load
// when another process has loaded it, and by what people use.
func measureObjects(ctx context.Context, b *bench, s *scope) ([]result, error) {
	py, err := b.python.library(ctx, objectsScript)
	if err != nil {
		what := "torch and transformers are not there: MODELFS_REQUIRE=torch make setup has the first in .venv, --python names another Python"
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	pickle := s.path(whisperName + ".pt")
	models, err := s.folder("src")
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(models, whisperName)
	run, err := py.forker(ctx, s, objectsScript)
	if err != nil {
		return nil, err
	}
	made, err := run.ask("make", folder, pickle)
	if err != nil {
		return nil, err
	}
	d, err := b.mountModels(ctx, s, "mnt", models, 3*whisperBytes)
	if err != nil {
		return nil, err
	}
	path, err := d.dataPath()
	if err != nil {
		return nil, err
	}
	o := &objects{run: run, versions: py.versions, made: made, rss: map[string]int64{}}
	contenders := []contender{
		o.contender("get_or_load", d.mount), o.contender("state_dict", d.mount),
		o.contender("from_pretrained", folder), o.contender("load_file", filepath.Join(folder, weightFile)),
		o.contender("torch_load", pickle), o.contender("torch_load_mmap", pickle),
		{"hit", seconds, func(context.Context) (float64, error) {
			a, err := run.ask("hit", d.mount)
			return a.Seconds, err
		}},
	}
	all, err := b.takeTurns(ctx, b.plan.objectRounds, contenders)
	if err != nil {
		return nil, err
	}
	return o.results(all, path)
}

// objects runs the methods of objects.py, and sees that they load the same.
type objects struct {
	run      *forker
	versions string
	made     answer
	rss      map[string]int64 // own memory that a load took, by method
}

func (o *objects) contender(method, place string) contender {
	return contender{method, seconds, func(context.Context) (float64, error) {
		a, err := o.run.ask(method, place)
		if err != nil {
			return 0, err
		}
		if a.Sum != o.made.Sum || a.Bytes != o.made.Bytes {
			return 0, fmt.Errorf("it has %s of other numbers than the model's %s", size(a.Bytes), size(o.made.Bytes))
		}
		o.rss[method] = a.RSS
		return a.Seconds, nil
	}}
}

func (o *objects) results(all []series, path dataPath) ([]result, error) {
	const second = "whisper-base (random weights) by get_or_load in a second process"
	const opened = "whisper-base by open().state_dict()"
	module, state, pretrained, file, plain, mapped, hit := all[0], all[1], all[2], all[3], all[4], all[5], all[6]
	results := []result{
		alone(second, seconds, module, under(6e-3, seconds)),
		alone(opened, seconds, state, under(3e-3, seconds)),
		alone("get_or_load of what the process has", seconds, hit, under(10e-6, seconds)),
	}
	results[0].Note = fmt.Sprintf("%s, %s; a process begins with the imports, and with the memory that they take mapped, as if it had done them: it is forked off one that did, and takes all of that one's pages before the clock starts; its own memory grew by %s in the last round, by %s with from_pretrained and by %s with torch.load%s",
		o.versions, size(o.made.Bytes), size(o.rss["get_or_load"]), size(o.rss["from_pretrained"]), size(o.rss["torch_load"]), path.lacks())
	var errs error
	for _, l := range []struct {
		what, peer string
		ours, its  series
		goal       goal
	}{
		{second, "from_pretrained of a local folder, in the page cache", module, pretrained, faster(40)},
		{second, "torch.load of the state dict, in the page cache", module, plain, faster(30)},
		{second, "torch.load(mmap=True) of the state dict", module, mapped, goal{}},
		{opened, "safetensors.torch.load_file, in the page cache", state, file, faster(4)},
	} {
		r, err := beside(l.what, seconds, l.ours, l.peer, l.its, l.goal)
		errs = errors.Join(errs, err)
		results = append(results, r)
	}
	return results, errs
}
