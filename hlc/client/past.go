package client

import (
	"context"
	"sync/atomic"

	"github.com/truechimer/truechimer/hlc"
)

// pastKey is the key of a context's past.
type pastKey struct{}

// WithPast returns a context with a causal past of its own, that of one request or one job:
// the greatest timestamp that it has seen, which begins with ts, such as the one that came
// with the request; 0: none. Every call of a Client with that context, or with one made of it, is
// answered above its past and moves it on; so does Local.Commit, while the calls of a Local
// that take no context need Past and Saw beside them. What [Handler] and [Transport] carry between
// processes is this.
func WithPast(ctx context.Context, ts hlc.Timestamp) context.Context {
	past := new(atomic.Uint64)
	past.Store(uint64(ts))
	return context.WithValue(ctx, pastKey{}, past)
}

// Past returns the greatest timestamp that the request of ctx has seen; 0: none, or ctx has
// no past.
func Past(ctx context.Context) hlc.Timestamp {
	if past, ok := ctx.Value(pastKey{}).(*atomic.Uint64); ok {
		return hlc.Timestamp(past.Load())
	}
	return 0
}

// Saw moves the past of ctx on to ts, where that is later: with a timestamp that came by another
// way, such as with a row or a message. Without a past it does nothing. It may be called
// concurrently.
func Saw(ctx context.Context, ts hlc.Timestamp) {
	past, ok := ctx.Value(pastKey{}).(*atomic.Uint64)
	if ok {
		raise(past, ts)
	}
}

// raise lifts a timestamp to ts, unless it is there already.
func raise(at *atomic.Uint64, ts hlc.Timestamp) {
	for {
		old := at.Load()
		if uint64(ts) <= old || at.CompareAndSwap(old, uint64(ts)) {
			return
		}
	}
}
