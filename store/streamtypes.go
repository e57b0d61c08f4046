package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// Limits of the streams. What is beyond one of them is refused with a typed error.
const (
	// PayloadLenMax is the largest payload of an event, in bytes.
	PayloadLenMax = 1 << 20
	// BatchEventsMax and BatchLenMax bound one Append: its events, and the bytes of all their
	// payloads.
	BatchEventsMax = 10_000
	BatchLenMax    = 8 << 20
	// KeyLenMax is the longest idempotency key, and PrincipalLenMax the longest name of who
	// uses it, in bytes.
	KeyLenMax       = 128
	PrincipalLenMax = 255
	// RetryWindow is how long an idempotency key is known at least.
	RetryWindow = 24 * time.Hour
	// PageEventsMax and PageLenMax bound what one Read returns: a page ends with the event with
	// which it reaches PageLenMax bytes, names and all. So no page is larger than 4 MiB.
	PageEventsMax = 10_000
	PageLenMax    = 2 << 20
	// WatchersMax is how many watchers there can be at a time, and NamesMax how many streams
	// one Watch or Cut can name. A prefix may match any number.
	WatchersMax = 4096
	NamesMax    = 1000
	// ListMax is how many streams List and Cut return at a time.
	ListMax = 1000
	// StreamsMax is how many streams a store can ever have had.
	StreamsMax = 1 << 24
)

var (
	// ErrName reports what cannot be the name of a stream, or the beginning of one.
	ErrName = errors.New("store: not a name of a stream")
	// ErrNoStream reports a stream that does not exist, or was deleted.
	ErrNoStream = errors.New("store: no such stream")
	// ErrExists reports that a stream exists that was to be created.
	ErrExists = errors.New("store: the stream exists already")
	// ErrTooLarge reports a request beyond a limit; nothing was done.
	ErrTooLarge = errors.New("store: too large")
	// ErrRange reports a request that makes no sense, such as a range that ends before it
	// begins.
	ErrRange = errors.New("store: out of range")
	// ErrBusy reports that the queue of the committer is full: more arrives than the disk
	// can take. Nothing was done.
	ErrBusy = errors.New("store: more is being appended than the disk can take; try again in a moment, with fewer callers or larger batches")
	// ErrFull reports that appending would use up the reserve of free disk space. Nothing
	// was appended.
	ErrFull = errors.New("store: the disk is nearly full; free some space, or delete or trim streams, and append again")
	// ErrKeyReused reports an idempotency key that was used for something else.
	ErrKeyReused = errors.New("store: the idempotency key was used for another append; use a fresh key for each append")
	// ErrUncertain reports a call that the caller gave up waiting for when it was already on its
	// way to the disk. An append with the same idempotency key tells what became of it.
	ErrUncertain = errors.New("store: the call was given up while it was being written, and may have succeeded; look at the stream, or repeat an append with the same idempotency key")
	// ErrCursor reports a cursor that cannot be used: not one of ours, of another store or of
	// one that was restored since, or from before a rebase.
	ErrCursor = errors.New("store: the cursor is of no use here; begin again from a sequence or a time")
	// ErrTimeline reports that the hybrid clock was rebased: timestamps went back, and what
	// goes by them has to begin again.
	ErrTimeline = errors.New("store: the hybrid clock was rebased, so timestamps repeat; begin again from a sequence or a time")
	// ErrWatchers reports that there are WatchersMax watchers already.
	ErrWatchers = errors.New("store: too many watchers; end some, or watch more streams with one")
	// ErrTrimmed reports that events were removed that would have to be returned. It comes as
	// a *TrimmedError.
	ErrTrimmed = errors.New("store: events were removed")
	// ErrConflict reports a stream that is not where the caller expected it. It comes as a
	// *ConflictError.
	ErrConflict = errors.New("store: the stream has moved on")
)

// ConflictError is ErrConflict with the figures. Nothing was appended.
type ConflictError struct {
	Stream   string
	Expected uint64
	Last     uint64 // sequence of the last event; 0: there is none yet
}

// Error says where the stream is.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: the last sequence of %q is %d, and %d was expected; read what is new, and decide again", ErrConflict, e.Stream, e.Last, e.Expected)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// TrimmedError is ErrTrimmed with the figures.
type TrimmedError struct {
	Stream string
	First  uint64 // sequence of the first event that is left, or that comes next
}

// Error says where the stream begins.
func (e *TrimmedError) Error() string {
	return fmt.Sprintf("%v: %q begins at sequence %d by now; begin again there", ErrTrimmed, e.Stream, e.First)
}

// Is makes errors.Is(err, ErrTrimmed) true.
func (e *TrimmedError) Is(target error) bool { return target == ErrTrimmed }

// Retention says which events of a stream may be removed, the oldest first: those beyond
// any of the limits that are not zero. The zero Retention keeps all.
type Retention struct {
	Age   time.Duration // by their timestamps
	Count uint64
	Bytes uint64 // of the payloads
}

func (r Retention) check() error {
	if r.Age < 0 {
		return fmt.Errorf("%w: a retention of %v", ErrRange, r.Age)
	}
	return nil
}

// Stream describes one stream.
type Stream struct {
	Name    string
	Created hlc.Timestamp // for the last time
	Deleted hlc.Timestamp // 0: it exists
	// First is the sequence of the first event that is left and Last of the last; First is
	// Last+1 where there is none. Sequences go on where they were when a stream that was
	// deleted is created again.
	First, Last uint64
	// LastTimestamp is that of Last, even where it is not left; 0: there never was one.
	LastTimestamp hlc.Timestamp
	Bytes         uint64 // of the payloads that are left
	Retention     Retention
}

// Entry is one event to append.
type Entry struct {
	Stream  string // created where it does not exist
	Payload []byte
	// Expected makes the append conditional: it is the sequence that the stream's last event
	// must have, counting the entries of the same batch before this one. 0 stands for a
	// stream that never had an event. Nil: any.
	Expected *uint64
}

// Batch is what one Append appends: all of it or nothing.
type Batch struct {
	// Entries are 1 to BatchEventsMax events, in order, to one stream or several.
	Entries []Entry
	// Observe is the greatest timestamp that the caller has seen; the events get greater
	// ones. It may be at most the max lead ahead. 0: none.
	Observe hlc.Timestamp
	// Key makes the append idempotent: within RetryWindow another one with the same Key,
	// Principal and streams is answered with the receipt of the first, and appends nothing,
	// also after a crash. One that differs in its payloads, in what it expects or in its
	// Principal is refused with ErrKeyReused.
	Key string
	// Principal is who appends; empty: nobody in particular.
	Principal string
}

// Receipt is the answer to an Append, and durable before it is given.
type Receipt struct {
	// Timestamp is that of the first event; that of entry i is Timestamp + i.
	Timestamp hlc.Timestamp
	// Sequences has the sequence of each entry.
	Sequences []uint64
	// Repeated says that the events were appended by an earlier call with the same key.
	Repeated bool
}

// Query says which events of a stream to read. The zero Query is all of it.
type Query struct {
	// From and To are the first and the last sequence, both included; 0 is the stream's own.
	From, To uint64
	// Since and Until are the first and the last timestamp, both included; 0 is no limit.
	Since, Until hlc.Timestamp
	// Reverse begins at the end.
	Reverse bool
	// Limit is how many events to return at the most; 0 means PageEventsMax.
	Limit int
	// Cursor continues where the page that it came with ended. Of the rest only Limit counts
	// then.
	Cursor string
}

// Page is a part of a stream.
type Page struct {
	Events []Event
	// Cursor is for the next page; empty when there was nothing more.
	Cursor string
	Stream Stream // as it was when the page was read
}

// Selection names streams: those in Names, and those that begin with Prefix where there
// are no names. The zero Selection is all.
type Selection struct {
	Names  []string
	Prefix string
}

// Start says where a Watch begins. Exactly one of the fields is set, or none: then it
// begins with what is appended next.
type Start struct {
	// Sequence is that of the first event; for one stream only. 1 on a stream that was never
	// trimmed is its beginning; one that was removed is an error.
	Sequence uint64
	// Oldest begins with the first event that is left of each stream.
	Oldest bool
	// Time begins with events whose timestamp is not below it, as far as they are left.
	Time hlc.Timestamp
	// Cursor goes on where the Delivery ended that it came with. Where events have been
	// removed since, that is an error: nothing is left out in silence.
	Cursor string
}

// Delivery is what a Watcher has next.
type Delivery struct {
	// Events are in the order of their timestamps, those of one stream gapless. None at all
	// is a heartbeat.
	Events []Event
	// Cursor goes on behind this delivery.
	Cursor string
	// Closed says that everything up to it has been delivered and nothing more will be.
	Closed hlc.Timestamp
}

// Cut is the state of some streams at one instant.
type Cut struct {
	Timestamp hlc.Timestamp
	Streams   []StreamCut // in the order of their names
	// After is the name to go on behind where there were more than ListMax; empty: there were
	// not.
	After string
}

// StreamCut is one stream in a Cut.
type StreamCut struct {
	Name        string
	First, Last uint64 // as in Stream, at that instant
	// LastTimestamp is that of Last; 0 where there was no event yet.
	LastTimestamp hlc.Timestamp
}

// StreamsStatus is what the streams are doing, in counters since NewStreams where nothing
// else is said.
type StreamsStatus struct {
	Closed   hlc.Timestamp // no event up to here is still to come
	Streams  uint64        // that were ever created in this store
	Watchers int           // now
	Queued   int           // calls that wait for the committer now

	Appends   uint64 // that succeeded
	Events    uint64 // appended
	Bytes     uint64 // of their payloads
	Groups    uint64 // synced writes
	Repeated  uint64 // appends that were answered with an earlier receipt
	Conflicts uint64 // appends refused by ErrConflict
	Busy      uint64 // calls refused by ErrBusy
	Full      uint64 // calls refused by ErrFull
	Delivered uint64 // events handed to watchers
	Trimmed   uint64 // events removed by retention or by hand
	Stalls    uint64 // times that the committer waited for the database to catch up

	FreeBytes    uint64 // of the disk, when last looked at; 0: unknown
	ReserveBytes uint64
	NearlyFull   bool // appends are refused by ErrFull now
}
