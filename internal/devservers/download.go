package devservers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

const (
	// downloadedVersion is the PostgreSQL that is downloaded where none is installed.
	downloadedVersion = embeddedpostgres.V17
	// defaultRepositoryURL is where it is downloaded from: Maven Central.
	defaultRepositoryURL = "https://repo1.maven.org/maven2"
	// rootCache is where it is kept for root, whose own cache directory the
	// server's unprivileged user cannot reach.
	rootCache = "/var/cache"
)

// download fetches PostgreSQL's binaries into the cache, unless they are there
// already. They must work for the user credential and, when major is not 0, be of
// that major version. When ctx is done, download returns, and what it was
// fetching is completed in the background or by a later call.
func (s binarySources) download(ctx context.Context, credential *syscall.Credential, major int) (installation, error) {
	cache, err := s.cacheDirectory()
	if err != nil {
		return installation{}, err
	}
	directory := filepath.Join(cache, "postgresql-"+string(downloadedVersion))
	repository := cmp.Or(s.repositoryURL, defaultRepositoryURL)
	done := make(chan error, 1)
	go func() { done <- fetch(directory, repository) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return installation{}, fmt.Errorf("download PostgreSQL %s from %s: %w; install PostgreSQL %d or newer (apt-get install postgresql), or set DATABASE_URL", downloadedVersion, repository, err, oldestPostgres)
	}
	found, err := probeInstallation(ctx, filepath.Join(directory, "bin"), credential, major)
	if err != nil {
		return installation{}, fmt.Errorf("use the downloaded PostgreSQL in %s (without that directory it is downloaded again): %w", directory, err)
	}
	return found, nil
}

// cacheDirectory is the directory of downloaded binaries.
func (s binarySources) cacheDirectory() (string, error) {
	if s.cache != "" {
		return s.cache, nil
	}
	if os.Geteuid() == 0 {
		return filepath.Join(rootCache, "tracklane"), nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache directory for PostgreSQL's binaries: %w", err)
	}
	return filepath.Join(cache, "tracklane"), nil
}

// fetch downloads PostgreSQL into directory, unless it is there. It is extracted
// under another name and renamed, so that an interrupted download leaves no half
// of one. Of several processes that fetch at once, one does, and the others wait
// for it.
func fetch(directory, repository string) error {
	if err := os.MkdirAll(filepath.Dir(directory), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(directory+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(directory); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	unfinished := directory + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	defer os.RemoveAll(unfinished)
	extracted := filepath.Join(unfinished, "extracted")
	if err := extract(extracted, unfinished, repository); err != nil {
		return err
	}
	if err := openToAll(filepath.Dir(directory), extracted); err != nil {
		return err
	}
	return os.Rename(extracted, directory)
}

// extract downloads PostgreSQL and extracts it to directory, with its other files
// in scratch. The library does both at the start of a server, before it runs
// initdb, which root must not run. So it is given a data directory that it cannot
// clear, as its path ends in a dot, and which ends the start there. That the
// start came so far is told by the runtime directory, which the library makes
// when everything is extracted.
func extract(directory, scratch, repository string) error {
	port, err := FreePort() // the library wants it free
	if err != nil {
		return err
	}
	runtime := filepath.Join(scratch, "runtime")
	err = embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(downloadedVersion).
		BinaryRepositoryURL(repository).
		Port(uint32(port)).
		BinariesPath(directory).
		CachePath(scratch).
		RuntimePath(runtime).
		DataPath(runtime + "/.").
		Logger(io.Discard)).Start()
	if _, missing := os.Stat(runtime); missing != nil {
		return cmp.Or(err, missing)
	}
	return nil
}

// openToAll lets every user read, and execute what its owner may, what lies in
// tree, and enter parent, whatever the umask is.
func openToAll(parent, tree string) error {
	if err := os.Chmod(parent, 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		information, err := entry.Info()
		if err != nil {
			return err
		}
		mode := information.Mode().Perm()
		return os.Chmod(path, mode|0o444|mode&0o100>>3|mode&0o100>>6)
	})
}
