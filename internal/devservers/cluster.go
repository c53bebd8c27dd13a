package devservers

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"tracklane/internal/process"
)

// reachablePlace is where clusters are kept whose own directory PostgreSQL's user
// cannot reach, because a directory above it is closed to others, as /root is.
const reachablePlace = "/var/tmp"

// cluster is PostgreSQL's data: where it is, who owns it, and the programs that
// serve it.
type cluster struct {
	dir          string
	credential   *syscall.Credential // nil: this process's user
	installation installation
}

// prepareCluster finds the cluster of the directory dir, or makes it. The caller
// holds the directory's lock.
// A new one is a copy of the primary at a URL, unless that is empty.
func prepareCluster(ctx context.Context, dir, primary string, sources binarySources, logger *slog.Logger) (cluster, error) {
	c := cluster{dir: filepath.Join(dir, "data")}
	if os.Geteuid() == 0 {
		var err error
		if c.credential, err = unprivilegedUser(); err != nil {
			return cluster{}, err
		}
		if c.dir, err = placeCluster(ctx, dir, c.credential, logger); err != nil {
			return cluster{}, err
		}
	}

	major, err := c.clusterMajor()
	if err != nil {
		return cluster{}, err
	}
	c.installation, err = sources.findInstallation(ctx, c.credential, major)
	if errors.Is(err, errNoInstallation) {
		logger.Info("No PostgreSQL is installed that can be used: downloading one", "reason", err)
		var notDownloaded error
		if c.installation, notDownloaded = sources.download(ctx, c.credential, major); notDownloaded != nil {
			return cluster{}, errors.Join(err, notDownloaded)
		}
		err = nil
	}
	if err != nil {
		return cluster{}, err
	}
	if major == 0 && primary != "" {
		return c, c.create(ctx, c.copyCommand(primary))
	}
	if major == 0 {
		return c, c.create(ctx, c.initCommand())
	}
	return c, c.stopOrphan(ctx, logger)
}

// unprivilegedUser is the one that PostgreSQL runs as when this process is root,
// as whom it refuses to run.
func unprivilegedUser() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as: start tracklane as an ordinary user, or set DATABASE_URL")
}

// placeCluster returns the directory for the cluster of dir: its own subdirectory
// where the user credential can reach that. Elsewhere it is a directory below
// reachablePlace and the subdirectory is a link to it, so that removing dir is
// enough to start with an empty cluster.
func placeCluster(ctx context.Context, dir string, credential *syscall.Credential, logger *slog.Logger) (string, error) {
	own := filepath.Join(dir, "data")
	place := filepath.Join(reachablePlace, fmt.Sprintf("tracklane-%x", sha256.Sum256([]byte(dir)))[:len("tracklane-")+12])
	away := filepath.Join(place, "data")

	if target, err := os.Readlink(own); err == nil {
		if information, err := os.Lstat(place); target == away && err == nil && information.IsDir() && ownedByRoot(information) {
			return away, nil
		}
		// The directory was moved, or its data cleaned away.
		if err := os.Remove(own); err != nil {
			return "", err
		}
	}
	if enters, err := canEnter(ctx, dir, credential); enters || err != nil {
		return own, err
	}

	// Without its link, what lies there belongs to a directory that was removed.
	if _, err := stopOrphan(ctx, filepath.Join(away, "postmaster.pid"), away, syscall.SIGQUIT); err != nil {
		return "", err
	}
	if err := os.RemoveAll(place); err != nil {
		return "", err
	}
	if err := os.Mkdir(place, 0o755); err != nil { // fails if somebody else was faster
		return "", err
	}
	if err := os.Chmod(place, 0o755); err != nil { // whatever the umask is
		return "", err
	}
	logger.Warn("PostgreSQL's user cannot enter the data directory, its data is kept elsewhere", "directory", dir, "data", place)
	return away, os.Symlink(away, own)
}

// ownedByRoot says whether a file belongs to root.
func ownedByRoot(information os.FileInfo) bool {
	status, ok := information.Sys().(*syscall.Stat_t)
	return ok && status.Uid == 0
}

// canEnter says whether the user credential can reach the directory dir. It tries,
// because a file's mode is not all that decides.
func canEnter(ctx context.Context, dir string, credential *syscall.Credential) (bool, error) {
	command := exec.CommandContext(ctx, "/bin/sh", "-c", ":")
	command.Dir = dir
	command.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	err := command.Run()
	if errors.Is(err, os.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("see whether PostgreSQL's user can enter %s: %w", dir, err)
	}
	return true, nil
}

// clusterMajor returns the major version of PostgreSQL that made the cluster, or 0
// when there is none yet.
func (c cluster) clusterMajor() (int, error) {
	content, err := os.ReadFile(filepath.Join(c.dir, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if errors.Is(err, os.ErrPermission) {
		return 0, fmt.Errorf("%w: another user started tracklane with this data directory before; start it as that user, or choose another directory", err)
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(content)))
}

// initCommand makes an empty cluster, and copyCommand a standby's copy of the
// primary at a URL.
func (c cluster) initCommand() *exec.Cmd {
	return exec.Command(c.installation.binary("initdb"),
		"--pgdata="+c.unfinished(), "--username="+userName, "--auth=trust",
		"--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
}

func (c cluster) copyCommand(primary string) *exec.Cmd {
	return exec.Command(c.installation.binary("pg_basebackup"), "--pgdata="+c.unfinished(), "--dbname="+primary,
		"--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--no-manifest")
}

func (c cluster) unfinished() string { return c.dir + ".unfinished" }

// create makes the cluster by a command. It is made under another name and
// renamed, so that an interrupted start leaves no half of one.
func (c cluster) create(ctx context.Context, command *exec.Cmd) error {
	unfinished := c.unfinished()
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err
	}
	if c.credential != nil {
		if err := os.Chown(unfinished, int(c.credential.Uid), int(c.credential.Gid)); err != nil {
			return err
		}
	}
	command.Dir = unfinished
	command.Env = serverEnvironment()
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	running, err := process.Start(command, process.Options{Credential: c.credential})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = running.Kill() })()
	if err := running.Wait(); err != nil {
		return fmt.Errorf("run %s: %w:\n%s", command.Path, cmp.Or(ctx.Err(), err), &output)
	}
	if err := os.Remove(c.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is something else where the data is to be: %w", err)
	}
	return os.Rename(unfinished, c.dir)
}

// stopOrphan stops the server that a killed tracklane may have left. SIGQUIT
// ends it without waiting for anyone; its log brings back what was committed.
func (c cluster) stopOrphan(ctx context.Context, logger *slog.Logger) error {
	pid, err := stopOrphan(ctx, filepath.Join(c.dir, "postmaster.pid"), c.dir, syscall.SIGQUIT)
	if pid != 0 && err == nil {
		logger.Warn("Stopped the PostgreSQL that an earlier tracklane left running", "pid", pid)
	}
	return err
}

// serverEnvironment makes a server's messages English, which launch reads, and
// its clock UTC.
func serverEnvironment() []string {
	return append(os.Environ(), "LC_ALL=C", "TZ=UTC")
}
