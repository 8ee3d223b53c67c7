// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sys/unix"

	"github.com/modelfs/modelfs/fs"
	"github.com/modelfs/modelfs/internal/cache"
	"github.com/modelfs/modelfs/internal/catalog"
	"github.com/modelfs/modelfs/internal/models"
	"github.com/modelfs/modelfs/internal/tree"
	"github.com/modelfs/modelfs/internal/users"
	"github.com/modelfs/modelfs/registry"
	"github.com/modelfs/modelfs/sources"
	"github.com/modelfs/modelfs/tensors/shm"
)

// Daemon is one mount and all that serves it.
type Daemon struct {
	cfg     Config
	started time.Time
	fence   *sources.Fence
	sources []sources.Source
	catalog *catalog.Catalog
	store   *shm.Store
	cache   *cache.Cache
	models  *models.Models
	tree    *tree.Tree
	areas   *areas
	server  *fs.Server
	metrics *prometheus.Registry
	janitor *janitor
	place   *place
	point   *os.File // the locked mount point; nil with a place
	nodes   *os.File // the journal of node ids; nil without a place
	mounted mount    // in the mount table; zero before

	malformed malformed // announcements of workers that were complained of
}

// Run makes the mount of cfg and serves it until ctx ends or somebody unmounts,
// then gives everything back. ready is called once, when the mount answers.
func Run(ctx context.Context, cfg Config, ready func()) error {
	d := &Daemon{cfg: cfg, started: time.Now()}
	if err := d.open(); err != nil {
		d.close()
		return err
	}
	defer d.close()
	return d.serve(ctx, ready)
}

// open makes the parts, from the origin to the mount.
func (d *Daemon) open() error {
	if err := prepare(d.cfg.MountPoint, d.cfg.Log); err != nil {
		return err
	}
	if err := d.openSources(); err != nil {
		return err
	}
	if err := d.openStore(); err != nil {
		return err
	}
	if err := d.openAreas(); err != nil {
		return err
	}
	d.catalog = catalog.New(d.sources, d.cfg.Log)
	d.catalog.OnIdle(d.shrink)
	wake := make(chan struct{}, 1)
	d.cache = cache.New(cache.Config{
		Store:         d.store,
		Budget:        d.cfg.Memory,
		Policy:        policy(d.cfg.Policy),
		TTL:           d.cfg.TTL,
		MaxModels:     d.cfg.MaxModels,
		OriginAllowed: d.cfg.OverBudget != Fail,
		Changed:       d.changed,
		Wake:          func() { d.janitor.nudge() },
		Log:           d.cfg.Log,
	})
	d.janitor = newJanitor(d, d.store.Events(), wake)
	d.models = models.New(d.catalog, d.cache, users.NewScanner(d.store.Info().Prefix), d.owner, d.cfg.Log)
	d.catalog.OnVanished(d.models.Vanished)
	d.tree = tree.New(tree.Config{
		Models: d.models, Reports: d,
		Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid()),
		Shared: d.cfg.AllowOther, Variants: d.cfg.Variants, Areas: d.areas.Areas, Log: d.cfg.Log,
	})
	d.metrics = prometheus.NewRegistry()
	return d.mount()
}

// openSources finds the places where models lie, none of them below the mount point.
func (d *Daemon) openSources() error {
	point := d.cfg.MountPoint
	fence, err := sources.NewFence(point, func(path string) {
		d.cfg.Log.Warn("left out: it leads into this mount itself", "path", path)
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMountPoint, err)
	}
	d.fence = fence
	for _, spec := range d.cfg.Models {
		src, err := sources.Resolve(spec, fence)
		if errors.Is(err, sources.ErrOwnMount) {
			return fmt.Errorf("%w: a mount at %s would hide the source %s: mount it somewhere else", ErrMountPoint, point, spec)
		}
		if err != nil {
			return err
		}
		d.sources = append(d.sources, src)
	}
	return nil
}

// slack is what the tmpfs holds beside the segments: bookkeeping, and a segment
// under construction that is discarded.
const slack = 64 << 20

func (d *Daemon) openStore() error {
	cfg := shm.Config{Size: d.cfg.Memory + slack, HugePages: shm.Mode(d.cfg.HugePages)}
	if os.Geteuid() == 0 {
		p, err := claim(d.cfg.MountPoint)
		if err != nil {
			return err
		}
		d.place = p
		cfg.Dir = p.dir
	} else if err := d.claimPoint(); err != nil {
		return err
	}
	store, err := shm.Open(cfg)
	if err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	d.store = store
	if info := store.Info(); d.cfg.HugePages == On && !info.HugePages {
		return fmt.Errorf("--hugepages on: %w: %s", ErrUnavailable, info.Reason)
	}
	return nil
}

// claimPoint locks the mount point itself for a user who has no place elsewhere,
// until the mount is off it: of two that start at once one gets it.
func (d *Daemon) claimPoint() error {
	f, err := os.Open(d.cfg.MountPoint)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMountPoint, err)
	}
	d.point = f
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%w: another process is about to mount at %s", ErrMountPoint, d.cfg.MountPoint)
	}
	return prepare(d.cfg.MountPoint, d.cfg.Log) // again: it may have mounted before the lock
}

func (d *Daemon) mount() error {
	opts := fs.Options{
		Prefix:      d.store.Info().Prefix,
		Passthrough: d.cfg.Passthrough != Off,
		AllowOther:  d.cfg.AllowOther,
		Mounted:     d.fence.Mounted,
		Log:         d.cfg.Log,
	}
	if d.place != nil {
		nodes, err := d.place.openNodes()
		if err != nil {
			return err
		}
		d.nodes, opts.Journal = nodes, nodes
	}
	server, err := fs.Mount(d.cfg.MountPoint, d.tree.Root(), opts)
	if err != nil {
		return fmt.Errorf("mount %s: %w", d.cfg.MountPoint, err)
	}
	d.server = server
	d.metrics.MustRegister(collector{d}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if ok, why := server.Passthrough(); !ok && d.cfg.Passthrough == On {
		return fmt.Errorf("--passthrough on: %w: %s", ErrUnavailable, why)
	}
	return nil
}

// serve runs the goroutines until the end, which is the first of: ctx, an
// unmount that somebody else made, the end of the connection.
func (d *Daemon) serve(ctx context.Context, ready func()) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	m, ok, err := mounted(d.cfg.MountPoint)
	if err != nil || !ok {
		return fmt.Errorf("%s is not in the mount table: %w", d.cfg.MountPoint, errors.Join(err, ErrMountPoint))
	}
	var running sync.WaitGroup
	d.mounted = m
	running.Go(func() { d.janitor.run(ctx) })
	running.Go(func() {
		err := watchUnmount(ctx, m)
		switch {
		case err == nil:
			d.cfg.Log.Info("unmounted", "mount", d.cfg.MountPoint)
			stop()
		case ctx.Err() == nil:
			d.cfg.Log.Warn("an unmount by somebody else will not be noticed", "error", err)
		}
	})
	d.begin(ctx, &running)
	ready()
	select {
	case <-ctx.Done():
	case <-d.server.Done():
	}
	stop()
	err = d.end()
	running.Wait()
	return err
}

// begin pins and loads what the configuration names. What is not there is said before
// the mount is ready: who waits for that reads it.
func (d *Daemon) begin(ctx context.Context, running *sync.WaitGroup) {
	for _, name := range d.cfg.Pin {
		if _, ok := d.catalog.Lookup(ctx, name); !ok {
			d.cfg.Log.Warn("pinned model is not there yet", "model", name)
		}
		d.cache.Registry().Pin(name)
	}
	for _, v := range d.cfg.Variants {
		if at := strings.LastIndexByte(v, '@'); at >= 0 {
			if _, ok := d.catalog.Lookup(ctx, v[:at]); !ok {
				d.cfg.Log.Warn("model of a variant is not there yet", "model", v[:at], "variant", v)
			}
		}
	}
	var load []*catalog.Model
	for _, name := range d.cfg.Load {
		if m, ok := d.catalog.Lookup(ctx, name); ok {
			load = append(load, m)
		} else {
			d.cfg.Log.Error("cannot load", "model", name, "error", models.ErrUnknown)
		}
	}
	running.Go(func() {
		for _, m := range load {
			if err := d.models.Load(ctx, m); err != nil && ctx.Err() == nil {
				d.cfg.Log.Error("cannot load", "model", m.Name(), "error", err)
			}
		}
	})
}

// end takes the mount off its place. With passthrough the mappings that are left
// need no daemon; without it the daemon serves until the last one ends, or
// Config.Hurry.
func (d *Daemon) end() error {
	if err := d.unmount(); err != nil {
		return err
	}
	if d.point != nil {
		_ = d.point.Close()
	}
	d.endLoads()
	if ok, _ := d.server.Passthrough(); !ok {
		select {
		case <-d.server.Done():
		case <-d.cfg.Hurry:
		}
	}
	return nil
}

// endLoads fails who waits for a load. A load that reads from an origin that does
// not answer ends with the process.
func (d *Daemon) endLoads() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.cache.Registry().Close()
	}()
	select {
	case <-ended:
	case <-time.After(patience):
	}
}

// patience is how long the end waits for a load in flight.
const patience = 200 * time.Millisecond

// unmount detaches this daemon's mount, unless somebody did so already: another
// one may be there by now.
func (d *Daemon) unmount() error {
	if d.mounted.id != 0 && !stillThere(d.mounted) {
		return nil
	}
	if err := detach(d.cfg.MountPoint); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", d.cfg.MountPoint, err)
	}
	return nil
}

// close gives back what open has made, in the reverse order.
func (d *Daemon) close() {
	if d.server != nil {
		if err := d.unmount(); err != nil {
			d.cfg.Log.Error("mount was not given back", "error", err)
		}
		d.server.Close()
	}
	if d.cache != nil {
		d.endLoads()
	}
	if d.nodes != nil {
		_ = d.nodes.Close()
	}
	if d.areas != nil {
		d.areas.close()
	}
	if d.store != nil {
		if err := d.store.Close(); err != nil {
			d.cfg.Log.Error("shared memory was not given back", "error", err)
		}
	}
	if d.place != nil {
		d.place.release()
	}
	if d.point != nil {
		_ = d.point.Close()
	}
}

// shrink gives memory back after somebody looked at many tensors: the kernel
// forgets the names that nobody uses, and the system gets what that frees.
func (d *Daemon) shrink() {
	if d.server == nil {
		return
	}
	d.server.Prune()
	time.Sleep(pruning)
	debug.FreeOSMemory()
}

// pruning is how long the kernel takes to forget 100,000 names, and more.
const pruning = 2 * time.Second

// Sweep frees what expired and says when to come back.
func (d *Daemon) Sweep() time.Duration { return d.cache.Registry().Sweep() }

// Retry frees what waited for its last user.
func (d *Daemon) Retry() int {
	d.areas.Retry()
	return d.cache.Registry().Retry()
}

// changed follows the end of a load or an eviction: the kernel is told that a part's
// blocks are others now.
func (d *Daemon) changed(p cache.Part) {
	d.areas.kept.freed(p)
	if d.server == nil {
		return
	}
	if place := d.tree.Place(p); place != "" {
		d.server.AttrChanged(place)
	}
}

// gone follows a name's going without a request: asked for its attributes, the kernel
// learns that it is outdated.
func (d *Daemon) gone(place string) {
	if d.server != nil {
		d.server.AttrChanged(place)
	}
}

// owner tells whose file an inode is.
func (d *Daemon) owner(ino uint64) (model string, folder, ok bool) {
	if d.server == nil {
		return "", false, false
	}
	e, ok := d.server.NodeOf(ino)
	if !ok {
		return "", false, false
	}
	o, ok := e.(tree.Owned)
	if !ok {
		return "", false, false
	}
	_, folder = e.(fs.Folder)
	model = o.ModelName()
	return model, folder, model != ""
}

// inodeBytes is the size of the part behind an inode.
func (d *Daemon) inodeBytes(ino uint64) int64 {
	e, ok := d.server.NodeOf(ino)
	if !ok {
		return 0
	}
	if b, ok := e.(tree.Backed); ok {
		return b.Bytes()
	}
	return 0
}

// dataPath says how bytes reach a reader.
func (d *Daemon) dataPath() DataPath {
	pass, why := d.server.Passthrough()
	info := d.store.Info()
	p := DataPath{Passthrough: pass, HugePages: info.HugePages}
	switch {
	case !pass && !info.HugePages && why != info.Reason:
		p.Reason = why + "; " + info.Reason
	case !pass:
		p.Reason = why
	case !info.HugePages:
		p.Reason = info.Reason
	}
	return p
}

func policy(p Policy) registry.Policy {
	switch p {
	case LFU:
		return registry.LFU
	case Manual:
		return registry.Manual
	}
	return registry.LRU
}
