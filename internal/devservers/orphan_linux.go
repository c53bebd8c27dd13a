package devservers

import (
	"fmt"
	"os"
	"strings"
)

// hasCwd reports whether the process pid runs and is a server of directory: it
// has that as its working directory or, if this process may not know, as one of
// its arguments.
func hasCwd(pid int, directory string) bool {
	if working, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
		return working == directory
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), "\x00"+directory+"\x00")
}
