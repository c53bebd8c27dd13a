package devservers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloadedVersion is the PostgreSQL that is downloaded where none is installed.
const downloadedVersion = embeddedpostgres.V17

// downloadInstallation fetches PostgreSQL's binaries from the internet into this
// user's cache, unless they are there already. The library that does it cannot
// work as root.
func downloadInstallation(ctx context.Context) (installation, error) {
	if os.Geteuid() == 0 {
		return installation{}, errors.New("PostgreSQL is not downloaded for root: install it (apt-get install postgresql), run as an ordinary user, or set DATABASE_URL")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return installation{}, err
	}
	folder := filepath.Join(cache, "tracklane", "postgresql-"+string(downloadedVersion))
	binaries := filepath.Join(folder, "bin")
	if found, err := examine(ctx, binaries, nil); err == nil {
		return found, nil
	}

	done := make(chan error, 1)
	go func() { done <- fetch(folder) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return installation{}, fmt.Errorf("download PostgreSQL (or install it, or set DATABASE_URL): %w", err)
	}
	return examine(ctx, binaries, nil)
}

// fetch downloads PostgreSQL into folder. The library's only way to do that is to
// start a server, so it starts one and stops it. Of several processes that fetch
// at once, one does, and the others wait for it.
func fetch(folder string) error {
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(folder+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if _, err := examine(context.Background(), filepath.Join(folder, "bin"), nil); err == nil {
		return nil
	}
	if err := os.RemoveAll(folder); err != nil { // what an interrupted download left
		return err
	}
	scratch, err := os.MkdirTemp("", "tracklane-download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	port, err := FreePort()
	if err != nil {
		return err
	}
	var output strings.Builder
	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(downloadedVersion).
		Port(uint32(port)).
		BinariesPath(folder).
		CachePath(filepath.Dir(folder)).
		RuntimePath(scratch).
		Logger(&output))
	if err := server.Start(); err != nil {
		return fmt.Errorf("%w\n%s", err, output.String())
	}
	return server.Stop()
}
