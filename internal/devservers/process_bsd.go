//go:build unix && !linux

package devservers

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// processAttributes are those of a server that runs as credential, or as this
// process's user where that is nil. There is no signal at the parent's death.
func processAttributes(credential *syscall.Credential, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: credential}
}

// children returns the ids of the processes whose parent is pid.
func children(pid int) []int {
	output, err := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil
	}
	var found []int
	for field := range strings.FieldsSeq(string(output)) {
		if child, err := strconv.Atoi(field); err == nil {
			found = append(found, child)
		}
	}
	return found
}

// worksIn says whether the process pid runs and has folder as its working
// directory, as the servers of that folder have.
func worksIn(pid int, folder string) bool {
	output, err := exec.Command("lsof", "-a", "-p", strconv.Itoa(pid), "-d", "cwd", "-Fn").Output()
	return err == nil && strings.Contains(string(output)+"\n", "\nn"+folder+"\n")
}
