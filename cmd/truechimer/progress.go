package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	eraseLine = "\r\x1b[K"
	// progressEvery is how often a line of progress is drawn at the most, and progressAfter how
	// long nothing is: what takes a moment needs none.
	progressEvery = 100 * time.Millisecond
	progressAfter = 500 * time.Millisecond
	barLen        = 24
)

// progress is one line on a terminal that says how far something is. Nil shows nothing.
type progress struct {
	out   io.Writer
	now   func() time.Time
	next  time.Time
	shown bool
}

// progress returns what shows progress where a person looks at the errors, or nil.
func (c *client) progress() *progress {
	if !(streams{out: c.err}).terminal() {
		return nil
	}
	return newProgress(c.err, time.Now)
}

func newProgress(out io.Writer, now func() time.Time) *progress {
	return &progress{out: out, now: now, next: now().Add(progressAfter)}
}

// show draws what text returns, unless that was done a moment ago.
func (p *progress) show(text func() string) {
	if p == nil || p.now().Before(p.next) {
		return
	}
	p.next, p.shown = p.now().Add(progressEvery), true
	fmt.Fprintf(p.out, "%s%s", eraseLine, text())
}

// erase takes the line away.
func (p *progress) erase() {
	if p != nil && p.shown {
		fmt.Fprint(p.out, eraseLine)
		p.shown = false
	}
}

// barText is a bar with what is done of the whole; without a whole, only what is done.
func barText(what string, done, whole uint64, unit func(uint64) string) string {
	if whole == 0 {
		return fmt.Sprintf("%s  %s", what, unit(done))
	}
	done = min(done, whole)
	share := float64(done) / float64(whole)
	full := int(share * barLen)
	return fmt.Sprintf("%s  [%s%s] %3.0f %%  %s of %s", what, strings.Repeat("#", full), strings.Repeat(".", barLen-full), 100*share, unit(done), unit(whole))
}

// phases show how far something is that has phases: as a bar on a terminal, else a line for
// each phase.
type phases struct {
	bar  *progress
	out  io.Writer
	last string
}

func (c *client) phases() *phases { return &phases{bar: c.progress(), out: c.err} }

// show tells how far a phase is, in bytes, or in files where there are no bytes.
func (p *phases) show(phase string, files, filesTotal, bytes, bytesTotal uint64) {
	if p.bar == nil {
		if phase != p.last {
			fmt.Fprintln(p.out, phase)
		}
		p.last = phase
		return
	}
	p.bar.show(func() string {
		if bytesTotal == 0 && bytes == 0 {
			return barText(phase, files, filesTotal, func(n uint64) string { return fmt.Sprint(n) })
		}
		return barText(phase, bytes, bytesTotal, bytesWords)
	})
}

// end takes away what is drawn.
func (p *phases) end() { p.bar.erase() }
