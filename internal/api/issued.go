package api

import (
	"context"
	"sync/atomic"

	"github.com/truechimer/truechimer/hlc"
)

// countingIssuer counts the timestamps that an Issuer gives.
type countingIssuer struct {
	Issuer
	issued *atomic.Uint64
}

// count counts n timestamps, unless there are none for an error.
func (c countingIssuer) count(n int, ts hlc.Timestamp, err error) (hlc.Timestamp, error) {
	if err == nil {
		c.issued.Add(uint64(n))
	}
	return ts, err
}

// NowN implements Issuer.
func (c countingIssuer) NowN(ctx context.Context, n int) (hlc.Timestamp, error) {
	ts, err := c.Issuer.NowN(ctx, n)
	return c.count(n, ts, err)
}

// NowAfter implements Issuer.
func (c countingIssuer) NowAfter(ctx context.Context, r hlc.Timestamp, n int) (hlc.Timestamp, error) {
	ts, err := c.Issuer.NowAfter(ctx, r, n)
	return c.count(n, ts, err)
}

// Observe implements Issuer.
func (c countingIssuer) Observe(ctx context.Context, remote hlc.Timestamp) (hlc.Timestamp, error) {
	ts, err := c.Issuer.Observe(ctx, remote)
	return c.count(1, ts, err)
}

// Commit implements Issuer.
func (c countingIssuer) Commit(ctx context.Context) (hlc.Timestamp, error) {
	ts, err := c.Issuer.Commit(ctx)
	return c.count(1, ts, err)
}
