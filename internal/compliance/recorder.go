package compliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/truechimer/truechimer/internal/alert"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// Chain is where entries are kept; *store.Journal is one.
type Chain interface {
	Append(entries ...store.JournalEntry) error
	Find(ctx context.Context, since, until int64, kinds []uint8, visit func(store.JournalRecord) error) error
	Tip(store.Track) store.JournalTip
	Sign(unix int64) (store.JournalHead, error)
	Root(day, unix int64) error
	Trim(t store.Track, before int64) (removed uint64, err error)
}

const (
	// Entries wait for the disk in memory, up to these; a minute comes to a few hundred.
	queueMax      = 1 << 17
	queueBytesMax = 64 << 20
	// A quarter of that is for evidence alone: probes of a large fleet must not take its room.
	queueRawMax      = queueMax / 4 * 3
	queueRawBytesMax = queueBytesMax / 4 * 3
	// batchMax is how many are written at a time.
	batchMax = 4096
	// writeInterval is how often. What came since the last write is lost with a crash.
	writeInterval = time.Second
	// lossStands is how long an alarm stands after an entry was given up.
	lossStands = time.Hour
)

// RecorderOptions are what a Recorder needs.
type RecorderOptions struct {
	Chain Chain
	// Now returns the served time, Unix nanoseconds, and whether somebody vouches for it: roots
	// are made and old records removed only while somebody does.
	Now func() (unix int64, sure bool)
	// HandOut is told of each head; it does not wait. Nil: nobody is.
	HandOut func(store.JournalHead)
	// Flush is called after each write, for what else waits for the disk; nil: nothing does.
	Flush  func() error
	Logger *slog.Logger
}

// Recorder writes entries into the journal: once a second all that came since, in one write. It
// signs the head each minute, and once a day makes a root and removes what is too old. Nobody
// waits for it. Its methods may be called concurrently.
type Recorder struct {
	opts RecorderOptions
	kept atomic.Pointer[kept]
	head atomic.Pointer[store.JournalHead]

	mu          sync.Mutex
	waiting     []store.JournalEntry
	bytes       int
	dropped     uint64
	lossAt      int64 // Unix nanoseconds of the last entry that was given up; 0: none was
	fault       error // of the last write; nil: it succeeded
	over        bool  // nothing is written any more
	writing     sync.Mutex
	signed      int64 // the minute of the last head, Unix seconds
	rooted      int64 // the day of the last root, Unix seconds
	thinned     int64 // the day on which old records were removed last, Unix seconds
	thinnedTo   *kept // and what was kept then
	reported    bool  // the fault is in the log
	flushFailed bool  // that of Flush is
}

// kept is how long records are kept.
type kept struct{ raw, evidence time.Duration }

// NewRecorder returns a Recorder, which writes nothing before Run.
func NewRecorder(o RecorderOptions) *Recorder {
	r := &Recorder{opts: o}
	r.kept.Store(&kept{})
	return r
}

// Keep sets how long raw records and evidence are kept; 0: for ever.
func (r *Recorder) Keep(raw, evidence time.Duration) { r.kept.Store(&kept{raw, evidence}) }

// Add has entries written that are of a time, Unix nanoseconds. It does not wait. Where too many
// wait for the disk already they are given up, and counted.
func (r *Recorder) Add(unix int64, entries ...*rpc.JournalEntry) {
	for _, e := range entries {
		kind := KindOf(e)
		payload, err := proto.Marshal(e)
		if err != nil || kind == 0 { // text that is not UTF-8, or an entry that says nothing
			r.opts.Logger.Error("journal entry not encoded", "kind", kind.String(), "err", err)
			r.lose(unix)
			continue
		}
		if len(payload) > store.JournalPayloadLenMax { // it would never be taken, nor what is behind it
			r.opts.Logger.Error("journal entry too long", "kind", kind.String(), "bytes", len(payload))
			r.lose(unix)
			continue
		}
		track, most, mostBytes := store.Evidence, queueMax, queueBytesMax
		if kind.Raw() {
			track, most, mostBytes = store.Raw, queueRawMax, queueRawBytesMax
		}
		r.mu.Lock()
		if r.over || len(r.waiting) >= most || r.bytes+len(payload) > mostBytes {
			r.mu.Unlock()
			r.lose(unix)
			continue
		}
		r.waiting = append(r.waiting, store.JournalEntry{Track: track, Kind: uint8(kind), Unix: unix, Payload: payload})
		r.bytes += len(payload)
		r.mu.Unlock()
	}
}

func (r *Recorder) lose(unix int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped++
	r.lossAt = unix
}

// Run writes at once, then each second until ctx ends, and then once more. It returns nil, or why nothing can be written
// any more.
func (r *Recorder) Run(ctx context.Context) error {
	ticker := time.NewTicker(writeInterval)
	defer ticker.Stop()
	for {
		if err := r.Write(); errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrClosed) {
			r.end()
			return nil // the store says why, to everybody
		}
		select {
		case <-ctx.Done():
			return r.Write()
		case <-ticker.C:
		}
	}
}

// end gives up what waits.
func (r *Recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.dropped += uint64(len(r.waiting))
	r.waiting, r.bytes = nil, 0
}

// Write writes what waits, and signs and removes what is due. An error is of the write; what it
// was about goes on waiting.
func (r *Recorder) Write() error {
	r.writing.Lock()
	defer r.writing.Unlock()
	err := r.writeWaiting()
	switch {
	case err == nil:
		err = r.turn()
	case errors.Is(err, store.ErrFull): // what is too old makes room
		if unix, sure := r.opts.Now(); sure {
			err = errors.Join(err, r.thin(unix))
		}
	}
	if err == nil && r.opts.Flush != nil {
		r.flush()
	}
	if err != nil && !r.reported {
		r.opts.Logger.Error("journal not written", "err", err)
	}
	if err == nil && r.reported {
		r.opts.Logger.Info("journal written again")
	}
	r.reported = err != nil
	r.mu.Lock()
	r.fault = err
	r.mu.Unlock()
	return err
}

// flush has the rest written. What is wrong with that is no fault of the journal.
func (r *Recorder) flush() {
	err := r.opts.Flush()
	if err != nil && !r.flushFailed {
		r.opts.Logger.Warn("history of the charts not written", "err", err)
	}
	r.flushFailed = err != nil
}

func (r *Recorder) writeWaiting() error {
	for {
		r.mu.Lock()
		batch := batchOf(r.waiting)
		r.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		if err := r.opts.Chain.Append(batch...); err != nil {
			return err
		}
		r.mu.Lock()
		for _, e := range batch {
			r.bytes -= len(e.Payload)
		}
		r.waiting = r.waiting[len(batch):]
		if len(r.waiting) == 0 {
			r.waiting = nil // and not an array that begins ever later
		}
		r.mu.Unlock()
	}
}

// batchOf returns the first entries: as many as are written at a time.
func batchOf(waiting []store.JournalEntry) []store.JournalEntry {
	length := 0
	for i := range waiting {
		if length += len(waiting[i].Payload); i == batchMax || length > store.JournalAppendLenMax {
			return waiting[:i]
		}
	}
	return waiting
}

// turn signs the head once a minute, and once a day makes a root and removes what is too old.
func (r *Recorder) turn() error {
	unix, sure := r.opts.Now()
	now := unix / int64(time.Second)
	if this := now - now%minute; this != r.signed {
		head, err := r.opts.Chain.Sign(unix)
		if err != nil {
			return err
		}
		r.signed = this
		r.head.Store(&head)
		if r.opts.HandOut != nil {
			r.opts.HandOut(head)
		}
	}
	if !sure {
		return nil
	}
	if today := now - now%day; today != r.rooted {
		if err := r.opts.Chain.Root(today, unix); err != nil {
			return err
		}
		r.rooted = today
	}
	return r.thin(unix)
}

// thin removes what is too old, once a day and where it is to be kept for another time.
func (r *Recorder) thin(unix int64) error {
	k, today := r.kept.Load(), floorDiv(unix, day*second)*day
	if today == r.thinned && k == r.thinnedTo {
		return nil
	}
	r.thinned, r.thinnedTo = today, k // also where it fails: the log tells, and the next day tries again
	for track, span := range map[store.Track]time.Duration{store.Raw: k.raw, store.Evidence: k.evidence} {
		if span <= 0 {
			continue
		}
		removed, err := r.opts.Chain.Trim(track, unix-int64(span))
		if err != nil {
			return err
		}
		if removed > 0 {
			r.opts.Logger.Info("journal thinned", "track", track.String(), "records", removed)
		}
	}
	return nil
}

// Head returns the last head that was signed, as a line; empty: none was yet.
func (r *Recorder) Head() string {
	if h := r.head.Load(); h != nil {
		return h.String()
	}
	return ""
}

// Dropped returns how many entries were given up since the start.
func (r *Recorder) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}

// Conditions returns what is wrong with the journal at Unix nanoseconds.
func (r *Recorder) Conditions(now int64) (standing []alert.Condition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault != nil && !errors.Is(r.fault, store.ErrFenced) { // a fence is an alarm of its own
		standing = append(standing, alert.Condition{Name: "journal_stalled", Critical: true, Sentence: fmt.Sprintf(
			"the journal cannot be written, %d records wait in memory: %v", len(r.waiting), r.fault)})
	}
	r.lossAt = min(r.lossAt, now) // the clock may have been set back since
	if r.lossAt != 0 && now-r.lossAt < int64(lossStands) {
		standing = append(standing, alert.Condition{Name: "journal_loss", Critical: true, Sentence: fmt.Sprintf(
			"%d records of the journal were given up: there is a gap in the evidence; see to the disk, and to the log of the node", r.dropped)})
	}
	return standing
}

// Find implements Journal.
func (r *Recorder) Find(ctx context.Context, since, until int64, kinds []Kind, visit func(Record) error) error {
	return JournalOf(r.opts.Chain).Find(ctx, since, until, kinds, visit)
}

// JournalOf returns the entries of a chain as a Journal.
func JournalOf(c Chain) Journal { return chainJournal{c} }

type chainJournal struct{ chain Chain }

// Find implements Journal.
func (r chainJournal) Find(ctx context.Context, since, until int64, kinds []Kind, visit func(Record) error) error {
	numbers := make([]uint8, len(kinds))
	for i, k := range kinds {
		numbers[i] = uint8(k)
	}
	return r.chain.Find(ctx, since, until, numbers, func(s store.JournalRecord) error {
		entry, err := Decode(s)
		if err != nil {
			return err
		}
		return visit(Record{Sequence: s.Sequence, Unix: s.Unix, Entry: entry})
	})
}

// Decode returns what a record says. It fails with store.ErrDamaged.
func Decode(s store.JournalRecord) (*rpc.JournalEntry, error) {
	entry := new(rpc.JournalEntry)
	if err := proto.Unmarshal(s.Payload, entry); err != nil {
		return nil, fmt.Errorf("%w: record %d of the journal's %v track cannot be decoded", store.ErrDamaged, s.Sequence, s.Track)
	}
	return entry, nil
}

// HeadFile appends heads to a file, one a line, in a goroutine of its own: the file may be on
// another machine, which may be gone. Its methods may be called concurrently.
type HeadFile struct {
	log   *slog.Logger
	path  atomic.Pointer[string]
	heads chan string
}

// NewHeadFile returns a HeadFile that writes to path, once Run is called; empty: to none.
func NewHeadFile(path string, log *slog.Logger) *HeadFile {
	f := &HeadFile{log: log, heads: make(chan string, 64)}
	f.path.Store(&path)
	return f
}

// Set has later heads written to another file.
func (f *HeadFile) Set(path string) { f.path.Store(&path) }

// Add has a head written. It does not wait: while the file hangs, the oldest are left out.
func (f *HeadFile) Add(head string) {
	for {
		select {
		case f.heads <- head:
			return
		default:
		}
		select {
		case <-f.heads:
		default:
		}
	}
}

// Run writes until ctx ends.
func (f *HeadFile) Run(ctx context.Context) {
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case head := <-f.heads:
			path := *f.path.Load()
			if path == "" {
				continue
			}
			err := appendLine(path, head)
			if err != nil && !failed {
				f.log.Error("journal head not handed out", "err", err)
			}
			failed = err != nil
		}
	}
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}
