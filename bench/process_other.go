//go:build !linux

package main

import "syscall"

// childAttributes keep a Ctrl-C away from a child, which the benchmark ends
// itself.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
