package daemon

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/truechimer/truechimer/hlc"
	"github.com/truechimer/truechimer/internal/config"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/internal/sysclock"
	"github.com/truechimer/truechimer/store"
)

// What is done with a data directory that no daemon has open, in the words of the store.
type (
	Progress      = store.Progress
	VerifyReport  = store.VerifyReport
	RestoreResult = store.RestoreResult
)

const (
	// ErrorBoundAssumed is what the clock is taken to be right to where nobody vouches for it. A
	// store that was restored issues nothing for about as long.
	ErrorBoundAssumed = time.Minute
	// ErrorBoundMax is the largest that Restore takes: a slip of the pen would stop a store for
	// as long.
	ErrorBoundMax = 24 * time.Hour
)

// RestoreOptions of a Restore.
type RestoreOptions struct {
	// HLC are the settings that the store had: its greatest max lead and window count.
	HLC config.HLC
	// ErrorBound is how far the clock of this machine can be from UTC; 0: what the kernel
	// says of it, and ErrorBoundAssumed where it says nothing.
	ErrorBound time.Duration
	// Progress is told how far it is; nil: nobody is.
	Progress func(Progress)
	// System is the machine's clock; nil means this machine's. Tests replace it.
	System sysclock.System
}

// Floor is a timestamp that nothing issued so far is above, and what it is made of.
type Floor struct {
	Timestamp  hlc.Timestamp
	ErrorBound time.Duration
	Given      bool // the error bound came with the options
	Assumed    bool // nobody vouches for it
	MaxLead    time.Duration
}

// Restore makes a data directory of a backup: see store.Restore. What it issues is above the
// floor, which it returns. Errors wrap store.ErrRefused where a directory was refused.
func Restore(ctx context.Context, from, dir string, o RestoreOptions) (RestoreResult, Floor, error) {
	if o.System == nil {
		o.System = sysclock.NewHost()
	}
	if o.ErrorBound < 0 || o.ErrorBound > ErrorBoundMax {
		return RestoreResult{}, Floor{}, fmt.Errorf("an error bound of %v (want 0s to %v)", o.ErrorBound, ErrorBoundMax)
	}
	floor := floorAt(o.System, o.ErrorBound, o.HLC.MaxLead)
	r, err := store.Restore(ctx, from, dir, store.RestoreOptions{Floor: floor.Timestamp, Window: o.HLC.Window, Progress: o.Progress})
	return r, floor, err
}

// floorAt adds up the time, what it can be wrong by, and what a timestamp can be ahead of it.
func floorAt(system sysclock.System, bound, maxLead time.Duration) Floor {
	f := Floor{ErrorBound: bound, MaxLead: maxLead, Given: bound > 0}
	if !f.Given {
		kernel, err := system.Kernel()
		// A bound of 0 was measured by nobody: see sysclock.Follow.
		if f.Assumed = err != nil || !kernel.Synchronised || kernel.MaxError == 0; f.Assumed {
			f.ErrorBound = ErrorBoundAssumed
		} else {
			f.ErrorBound = kernel.MaxError + kernel.Residual.Abs()
		}
	}
	f.Timestamp = hlc.CeilUnix(system.Read().Unix + int64(f.ErrorBound+f.MaxLead))
	return f
}

// Verify proves a data directory or a backup: see store.Verify. Errors wrap store.ErrRefused
// where the directory was refused.
func Verify(ctx context.Context, dir string, progress func(Progress)) (VerifyReport, error) {
	return store.Verify(ctx, dir, progress)
}

// VerifyJournal verifies the journal of a data directory that no daemon has open, or of a backup:
// see store.VerifyJournal. heads are lines that were handed out, keys the public keys, in hexadecimal,
// that may have signed; none: any may. progress is told how far it is. It fails with ErrHead where one
// of these cannot be read; errors wrap store.ErrRefused where the directory was refused.
func VerifyJournal(ctx context.Context, dir string, heads, keys []string, progress func(*rpc.VerifyJournalResponse)) (*rpc.VerifyJournalResponse, error) {
	o := store.VerifyJournalOptions{Progress: func(p store.JournalProgress) {
		progress(&rpc.VerifyJournalResponse{Checked: p.Checked, Total: p.Total})
	}}
	for _, line := range heads {
		h, err := store.ParseJournalHead(line)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrHead, err)
		}
		o.Heads = append(o.Heads, h)
	}
	for _, digits := range keys {
		key, err := hex.DecodeString(digits)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: %.80q is no public key: want %d hexadecimal digits, as truechimer journal head prints them", ErrHead, digits, 2*ed25519.PublicKeySize)
		}
		o.Keys = append(o.Keys, key)
	}
	r, err := store.VerifyJournal(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	return verified(&r), nil
}

// ErrHead reports a head, or a key, that cannot be read.
var ErrHead = errors.New("cannot be compared with")
