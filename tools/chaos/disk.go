package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tracklane/internal/clock"
)

// disk is a small filesystem in a file, which holds what Redis writes and
// nothing else: it can be full, and it can stand still.
type disk struct {
	dir string // where it is mounted
}

const (
	diskBytes = 1 << 30

	// diskKey is what the harness writes to Redis to see what the disk does to it.
	diskKey   = "chaos:disk"
	diskProbe = 64 << 10

	// probePause is between two looks at a Redis whose disk is full.
	probePause = 200 * time.Millisecond
)

// mountDisk makes a disk in a directory and mounts it there. It fails where this
// process may not mount.
func mountDisk(ctx context.Context, dir string) (*disk, error) {
	image, mounted := filepath.Join(dir, "disk.img"), filepath.Join(dir, "disk")
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	if err := os.Truncate(image, diskBytes); err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	if err := os.Mkdir(mounted, 0o755); err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	// No blocks are kept for root, as whom Redis may run here.
	if err := execute(ctx, "mkfs.ext4", "-q", "-m", "0", image); err != nil {
		return nil, err
	}
	if err := execute(ctx, "mount", "-o", "loop", image, mounted); err != nil {
		return nil, err
	}
	return &disk{mounted}, nil
}

// unmount removes the disk. Nothing may use it any more.
func (d *disk) unmount() error {
	return execute(context.Background(), "umount", d.dir)
}

// fill leaves no space on the disk, until empty.
func (d *disk) fill(ctx context.Context) error {
	var free syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &free); err != nil {
		return fmt.Errorf("see what is free on the disk: %w", err)
	}
	bytes := int64(free.Bavail) * int64(free.Bsize) //nolint:unconvert // their types differ between systems
	if err := execute(ctx, "fallocate", "-l", strconv.FormatInt(bytes*99/100, 10), d.ballast()); err != nil {
		return err
	}
	file, err := os.OpenFile(d.ballast(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	_, err = io.Copy(file, zeros{})
	if err = errors.Join(err, file.Close()); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill the disk: %w", err)
	}
	return nil
}

// empty undoes fill.
func (d *disk) empty() error { return os.Remove(d.ballast()) }

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// freeze lets every write and every sync on the disk wait for a time. A process
// of its own ends it, so that the disk moves again even if this process is killed.
func (d *disk) freeze(ctx context.Context, lasts time.Duration) error {
	script := exec.Command("sh", "-c", `fsfreeze -f "$1" && sleep "$2"; fsfreeze -u "$1"`,
		"freeze", d.dir, fmt.Sprintf("%.3f", lasts.Seconds()))
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if output, err := script.CombinedOutput(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("freeze the disk: %w: %s", err, output)
	}
	return nil
}

// zeros never end.
type zeros struct{}

func (zeros) Read(buffer []byte) (int, error) {
	clear(buffer)
	return len(buffer), nil
}

// execute runs a program of the system.
func execute(ctx context.Context, name string, arguments ...string) error {
	if output, err := exec.CommandContext(ctx, name, arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, output)
	}
	return nil
}

// fillRedisDisk keeps the disk of Redis full until a time. A Redis that ends for
// it, as with appendfsync always, is started again at once and again, as its
// supervisor would. The note says what Redis did; that it did not notice is an
// error.
func (tb *testbed) fillRedisDisk(ctx context.Context, until time.Time) (note string, err error) {
	if err := tb.disk.fill(ctx); err != nil {
		return "", errors.Join(err, tb.disk.empty())
	}
	refused, ended := 0, 0
	for time.Now().Before(until) && ctx.Err() == nil {
		err := tb.queues.Set(ctx, diskKey, strings.Repeat("x", diskProbe), 0).Err()
		if err != nil && strings.Contains(err.Error(), "MISCONF") {
			refused++
		}
		if tb.Redis.Restart(ctx) == nil { // it fails when Redis runs
			ended++
		}
		clock.Sleep(ctx, probePause)
	}
	err = errors.Join(tb.disk.empty(), retry(ctx, func(ctx context.Context) error {
		_ = tb.Redis.Restart(ctx) // it fails when Redis runs
		return tb.queues.Del(ctx, diskKey).Err()
	}))
	if refused == 0 && ended == 0 && ctx.Err() == nil {
		err = errors.Join(err, errors.New("a full disk went unnoticed by Redis"))
	}
	return fmt.Sprintf("%d writes refused by MISCONF, %d times Redis ended", refused, ended), err
}

// stallRedisDisk keeps what Redis writes and syncs from coming to an end. The note
// says how many writes of the harness got no response in time; with appendfsync
// always, that none did is an error.
func (tb *testbed) stallRedisDisk(ctx context.Context, lasts time.Duration) (note string, err error) {
	frozen := make(chan error, 1)
	go func() { frozen <- tb.disk.freeze(ctx, lasts) }()
	for timeouts := 0; ; {
		if err := tb.queues.Set(ctx, diskKey, "x", time.Second).Err(); err != nil {
			timeouts++
		}
		select {
		case err = <-frozen:
			if timeouts == 0 && tb.appendSync == "always" && ctx.Err() == nil {
				err = errors.Join(err, errors.New("a disk that stood still went unnoticed by Redis"))
			}
			return fmt.Sprintf("%d writes without a response", timeouts), err
		case <-time.After(probePause):
		}
	}
}

// forgetting is what a Redis that loses its power loses: the end of its
// append-only file that was not synced.
type forgetting struct {
	file string
	size int64
}

// noteAppendOnlyFile notes how long Redis's append-only file is now.
func (tb *testbed) noteAppendOnlyFile(ctx context.Context) (f forgetting, err error) {
	dir, err := tb.redisDir(ctx)
	if err != nil {
		return f, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		return f, fmt.Errorf("find the append-only file in %s: %w", dir, errors.Join(err, os.ErrNotExist))
	}
	newest := files[0]
	for _, file := range files {
		if aofNumber(file) > aofNumber(newest) {
			newest = file
		}
	}
	information, err := os.Stat(newest)
	if err != nil {
		return f, fmt.Errorf("look at the append-only file: %w", err)
	}
	return forgetting{newest, information.Size()}, nil
}

// aofNumber is the 12 of appendonly.aof.12.incr.aof.
func aofNumber(file string) int {
	parts := strings.Split(filepath.Base(file), ".")
	if len(parts) < 3 {
		return 0
	}
	number, _ := strconv.Atoi(parts[2])
	return number
}

// forget cuts the file of a killed Redis off where it ended then, and returns how
// many bytes that were.
func (f forgetting) forget() (int64, error) {
	information, err := os.Stat(f.file)
	if errors.Is(err, os.ErrNotExist) || err == nil && information.Size() <= f.size {
		return 0, nil // it was rewritten meanwhile, or nothing was written
	}
	if err != nil {
		return 0, fmt.Errorf("look at the append-only file: %w", err)
	}
	if err := os.Truncate(f.file, f.size); err != nil {
		return 0, fmt.Errorf("cut the append-only file off: %w", err)
	}
	return information.Size() - f.size, nil
}

// redisDir is where Redis has its data.
func (tb *testbed) redisDir(ctx context.Context) (string, error) {
	values, err := tb.queues.ConfigGet(ctx, "dir").Result()
	if err != nil {
		return "", fmt.Errorf("ask Redis for its directory: %w", err)
	}
	return values["dir"], nil
}

// setAppendSync changes how Redis syncs its append-only file.
func (tb *testbed) setAppendSync(ctx context.Context, appendSync string) error {
	return retry(ctx, func(ctx context.Context) error {
		return tb.queues.ConfigSet(ctx, "appendfsync", appendSync).Err()
	})
}

// stopDuringOutage stops an API in order while Redis is down that has forgotten
// the last second of what it acknowledged under appendfsync everysec, as it does
// when the machine's power fails. The API holds copies of that.
func (tb *testbed) stopDuringOutage(ctx context.Context, api target, over time.Time) (note string, err error) {
	if err := tb.setAppendSync(ctx, "everysec"); err != nil {
		return "", err
	}
	if !clock.Sleep(ctx, copiesAfter) {
		return "", ctx.Err()
	}
	last, err := tb.noteAppendOnlyFile(ctx)
	if err != nil {
		return "", errors.Join(err, tb.setAppendSync(ctx, tb.appendSync))
	}
	clock.Sleep(ctx, forgottenTime)
	if err := tb.Redis.Kill(); err != nil {
		return "", err
	}
	bytes, err := last.forget()
	err = errors.Join(err, api.Stop(ctx))
	clock.Sleep(ctx, time.Until(over))
	err = errors.Join(err, restart(ctx, tb.Redis), restart(ctx, api))
	return fmt.Sprintf("Redis forgot %d bytes", bytes), err
}

const (
	// copiesAfter is how long the APIs have to see that Redis may forget.
	copiesAfter = 3 * time.Second

	// forgottenTime is what a Redis with appendfsync everysec forgets when the
	// power fails, at the least.
	forgottenTime = time.Second
)
