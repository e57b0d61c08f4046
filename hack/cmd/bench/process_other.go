//go:build !linux

package main

import (
	"context"
	"errors"
	"syscall"
)

// errLinux reports that the comparison was started elsewhere.
var errLinux = errors.New("the comparison runs on Linux only")

func dieWithUs() *syscall.SysProcAttr { return nil }

func mayNotSetClock() error { return errLinux }

func residentBytes(int) (int64, error) { return 0, errLinux }

func flood(context.Context, floodOptions) (floodCounts, error) { return floodCounts{}, errLinux }
