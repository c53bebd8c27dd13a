package devservers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// oldestPostgres is the oldest major version of PostgreSQL that tracklane runs on.
const oldestPostgres = 15

// debianPattern is where Debian and its relatives put PostgreSQL's binaries.
const debianPattern = "/usr/lib/postgresql/*/bin"

// binarySources says where PostgreSQL's binaries come from, besides PATH and
// pg_config.
type binarySources struct {
	installed     string // pattern of the directories of installed ones
	repositoryURL string // where they are downloaded from; empty: defaultRepositoryURL
	cache         string // the directory of downloaded ones; empty: that of cacheDirectory
}

// installation is a PostgreSQL that is installed on this machine and works.
type installation struct {
	dir         string // that of its binaries
	version     string // "15.18"
	major       int
	timescaledb bool // its extension is installed, too
}

// binary is the path of one of the installation's programs.
func (i installation) binary(name string) string { return filepath.Join(i.dir, name) }

// errNoInstallation says that this machine has no PostgreSQL that can be used.
var errNoInstallation = errors.New("no PostgreSQL " + strconv.Itoa(oldestPostgres) + " or newer is installed")

// findInstallation looks for PostgreSQL on PATH, then where Debian puts it, the
// newest first, then where pg_config says. It must work for the user credential
// and, when major is not 0, be of that major version. The error is
// errNoInstallation, with reasons, unless ctx is done.
func (s binarySources) findInstallation(ctx context.Context, credential *syscall.Credential, major int) (installation, error) {
	var refusals []error
	for _, dir := range s.binaryDirs(ctx) {
		found, err := probeInstallation(ctx, dir, credential, major)
		if err == nil {
			return found, nil
		}
		refusals = append(refusals, err)
	}
	if err := ctx.Err(); err != nil {
		return installation{}, err
	}
	return installation{}, errors.Join(append([]error{errNoInstallation}, refusals...)...)
}

// binaryDirs returns the directories that may hold PostgreSQL's binaries, the
// best first.
func (s binarySources) binaryDirs(ctx context.Context) []string {
	var dirs []string
	add := func(dir string) {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			add(filepath.Dir(path))
		}
	}
	debian, _ := filepath.Glob(s.installed)
	slices.SortFunc(debian, func(a, b string) int { return cmp.Compare(dirVersion(b), dirVersion(a)) })
	for _, dir := range debian {
		add(dir)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if output, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		add(strings.TrimSpace(string(output)))
	}
	return dirs
}

// dirVersion is the 15 of /usr/lib/postgresql/15/bin.
func dirVersion(dir string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return version
}

// versionPattern finds the version in "postgres (PostgreSQL) 15.18 (Debian …)".
var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

// examine runs the programs in directory as the user credential to see that they
// work, since what is on PATH may be a wrapper or a link that leads nowhere, and
// that they are of the major version, unless that is 0.
func probeInstallation(ctx context.Context, dir string, credential *syscall.Credential, major int) (installation, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	found := installation{dir: dir}
	for _, program := range []string{"initdb", "postgres"} {
		command := exec.CommandContext(ctx, found.binary(program), "--version")
		command.Dir = "/"
		command.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		output, err := command.Output()
		if err != nil {
			return installation{}, fmt.Errorf("run %s --version: %w", found.binary(program), err)
		}
		match := versionPattern.FindStringSubmatch(string(output))
		if match == nil {
			return installation{}, fmt.Errorf("%s --version prints %q", found.binary(program), output)
		}
		found.version = match[1]
		found.major, _ = strconv.Atoi(match[2])
		if found.major < oldestPostgres {
			return installation{}, fmt.Errorf("%s has PostgreSQL %s", dir, found.version)
		}
		if major != 0 && found.major != major {
			return installation{}, fmt.Errorf("%s has PostgreSQL %s, but the data directory was made by %d: install that version or start with an empty directory", dir, found.version, major)
		}
	}
	found.timescaledb = found.hasTimescaleDB(ctx)
	return found, nil
}

// hasTimescaleDB reports whether TimescaleDB is installed beside PostgreSQL:
// both the library that the server must preload, and the files that CREATE
// EXTENSION reads. Their directories are known to the installation's pg_config;
// one without that program has no extensions besides its own.
func (i installation) hasTimescaleDB(ctx context.Context) bool {
	output, err := exec.CommandContext(ctx, i.binary("pg_config"), "--pkglibdir", "--sharedir").Output()
	if err != nil {
		return false
	}
	libraries, shared, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	if _, err := os.Stat(filepath.Join(shared, "extension", "timescaledb.control")); err != nil {
		return false
	}
	for _, library := range []string{"timescaledb.so", "timescaledb.dylib"} {
		if _, err := os.Stat(filepath.Join(libraries, library)); err == nil {
			return true
		}
	}
	return false
}
