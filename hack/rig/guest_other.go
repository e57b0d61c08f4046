//go:build !linux

package main

import "errors"

var errLinux = errors.New("guests run Linux")

func guest(string) error { return errLinux }

func guestRole([]string) error { return errLinux }
