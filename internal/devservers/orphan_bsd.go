//go:build unix && !linux

package devservers

import (
	"os/exec"
	"strconv"
	"strings"
)

// hasCwd reports whether the process pid runs and has directory as its working
// directory, as the servers of that directory have.
func hasCwd(pid int, directory string) bool {
	output, err := exec.Command("lsof", "-a", "-p", strconv.Itoa(pid), "-d", "cwd", "-Fn").Output()
	return err == nil && strings.Contains(string(output)+"\n", "\nn"+directory+"\n")
}
