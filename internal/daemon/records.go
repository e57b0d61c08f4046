package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/truechimer/truechimer/internal/api"
	"github.com/truechimer/truechimer/internal/compliance"
	"github.com/truechimer/truechimer/internal/rpc"
	"github.com/truechimer/truechimer/store"
)

// scannedMax is how many records a page of the journal looks at for those that are wanted: who asks
// for a rare kind goes on with the next page.
const scannedMax = 200_000

// pageLenMax is how long the records of a page are together, in bytes, before it ends.
const pageLenMax = 4 << 20

// Journal implements api.Evidence.
func (e *evidence) Journal(ctx context.Context, r *rpc.JournalRequest) (*rpc.JournalResponse, error) {
	track := store.Evidence
	if r.Track == rpc.JournalTrack_JOURNAL_TRACK_RAW {
		track = store.Raw
	}
	wanted, err := kindsNamed(r.Kinds, track)
	if err != nil {
		return nil, err
	}
	status := e.journal.Status().Evidence
	if track == store.Raw {
		status = e.journal.Status().Raw
	}
	p := &page{request: r, kinds: wanted, response: &rpc.JournalResponse{}}
	switch {
	case r.FromSequence == 0 && r.FromUnixNs == 0:
		return e.latest(ctx, track, status, p)
	case r.FromSequence == 0:
		if r.FromSequence, err = e.firstSince(ctx, track, r.FromUnixNs); err != nil {
			return nil, err
		}
	}
	from := max(r.FromSequence, status.First)
	if from > status.Last {
		return p.response, nil
	}
	return p.response, ended(e.journal.Scan(ctx, track, from, status.Last, p.take))
}

// kindsNamed reads the kinds that are wanted; nil: all.
func kindsNamed(names []string, track store.Track) (map[uint8]bool, error) {
	if len(names) == 0 {
		return nil, nil
	}
	kinds := make(map[uint8]bool)
	for _, name := range names {
		k, ok := compliance.KindNamed(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("%w as %.40q; truechimer journal show --help lists them", api.ErrKind, name)
		case k.Raw() != (track == store.Raw):
			return nil, fmt.Errorf("%w as %q on this track: measured, seconds and probe are raw, all others are evidence", api.ErrKind, name)
		}
		kinds[uint8(k)] = true
	}
	return kinds, nil
}

// page collects records.
type page struct {
	request  *rpc.JournalRequest
	kinds    map[uint8]bool
	response *rpc.JournalResponse
	scanned  int
	bytes    int
}

// take looks at a record. errEnough ends the page, and says where the next begins.
func (p *page) take(s store.JournalRecord) error {
	if len(p.response.Records) == int(p.request.Limit) || p.scanned == scannedMax || p.bytes > pageLenMax {
		p.response.NextSequence = s.Sequence
		return errEnough
	}
	p.scanned++
	if !p.wants(&s) {
		return nil
	}
	m, err := recordMessage(s)
	if err != nil {
		return err
	}
	p.bytes += len(s.Payload)
	p.response.Records = append(p.response.Records, m)
	return nil
}

// wants reports whether a record is asked for.
func (p *page) wants(s *store.JournalRecord) bool {
	return (p.kinds == nil || p.kinds[s.Kind]) && s.Unix >= p.request.FromUnixNs && (p.request.ToUnixNs == 0 || s.Unix < p.request.ToUnixNs)
}

// recordMessage is a record as the API tells it.
func recordMessage(s store.JournalRecord) (*rpc.JournalRecord, error) {
	entry, err := compliance.Decode(s)
	if err != nil {
		return nil, err
	}
	return &rpc.JournalRecord{Sequence: s.Sequence, UnixNs: s.Unix, Kind: compliance.Kind(s.Kind).String(), Entry: entry, Hash: s.Hash[:]}, nil
}

// latest is the page that ends with the last record that is wanted: as many before it as fit.
func (e *evidence) latest(ctx context.Context, track store.Track, status store.JournalTrackStatus, p *page) (*rpc.JournalResponse, error) {
	const chunk = 1000
	limit := int(p.request.Limit)
	full := false
	last, err := e.lastBefore(ctx, track, status.Last, p.request.ToUnixNs)
	if err != nil {
		return nil, err
	}
	for end := last; end >= status.First && end > 0 && !full && p.scanned < scannedMax; {
		start := max(status.First, end-min(end, chunk)+1)
		var part []store.JournalRecord
		length := p.bytes
		err := e.journal.Scan(ctx, track, start, end, func(s store.JournalRecord) error {
			if !p.wants(&s) {
				return nil
			}
			part, length = append(part, s), length+len(s.Payload)
			for len(part) > 1 && length > pageLenMax {
				length, part, full = length-len(part[0].Payload), part[1:], true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if over := len(part) - (limit - len(p.response.Records)); over >= 0 {
			part, full = part[over:], true
		}
		if err := p.before(part); err != nil {
			return nil, err
		}
		p.bytes, full = length, full || length > pageLenMax
		p.scanned += int(end - start + 1)
		end = start - 1
	}
	if !full && p.scanned >= scannedMax && track == store.Evidence && p.kinds != nil {
		return e.latestOfRare(ctx, p, limit)
	}
	return p.response, nil
}

// lastBefore returns the sequence of a record, end at the most, behind which none was written before a
// time; 0: there is no such time. It goes by the minutes, as they were written.
func (e *evidence) lastBefore(ctx context.Context, track store.Track, end uint64, until int64) (uint64, error) {
	if until == 0 {
		return end, nil
	}
	err := e.recorder.Find(ctx, until, maxUnix, []compliance.Kind{compliance.KindMinute}, func(r compliance.Record) error {
		if track == store.Raw {
			end = min(end, r.Entry.GetMinute().GetRawSequence())
		} else {
			end = min(end, r.Sequence)
		}
		return errEnough
	})
	return end, ended(err)
}

// latestOfRare is latest for kinds of which few were written of late: by the index, however long ago.
func (e *evidence) latestOfRare(ctx context.Context, p *page, limit int) (*rpc.JournalResponse, error) {
	until := p.request.ToUnixNs
	if until == 0 {
		until = maxUnix
	}
	var found []store.JournalRecord
	length := 0
	err := e.journal.Find(ctx, p.request.FromUnixNs, until, slices.Collect(maps.Keys(p.kinds)), func(s store.JournalRecord) error {
		found, length = append(found, s), length+len(s.Payload)
		for len(found) > limit || len(found) > 1 && length > pageLenMax {
			length, found = length-len(found[0].Payload), found[1:]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b store.JournalRecord) int { return cmp.Compare(a.Sequence, b.Sequence) })
	p.response.Records = nil
	return p.response, p.before(found)
}

// before puts records before those of the page.
func (p *page) before(part []store.JournalRecord) error {
	messages := make([]*rpc.JournalRecord, 0, len(part)+len(p.response.Records))
	for _, s := range part {
		m, err := recordMessage(s)
		if err != nil {
			return err
		}
		messages = append(messages, m)
	}
	p.response.Records = append(messages, p.response.Records...)
	return nil
}

// firstSince returns the sequence of a record before which none was written since a time.
func (e *evidence) firstSince(ctx context.Context, track store.Track, since int64) (uint64, error) {
	if track == store.Evidence {
		first := e.journal.Tip(store.Evidence).Sequence + 1
		var kinds []compliance.Kind
		for _, k := range compliance.Kinds() {
			if !k.Raw() {
				kinds = append(kinds, k)
			}
		}
		err := e.recorder.Find(ctx, since, maxUnix, kinds, func(r compliance.Record) error {
			first = r.Sequence
			return errEnough
		})
		return first, ended(err)
	}
	// A minute's summary says how far the raw records were then.
	first := uint64(1)
	err := e.recorder.Find(ctx, max(0, since-rawSearch), since, []compliance.Kind{compliance.KindMinute}, func(r compliance.Record) error {
		first = r.Entry.GetMinute().GetRawSequence()
		return nil
	})
	return max(first, 1), err
}

const (
	maxUnix = 1<<63 - 1
	// rawSearch is how long before a time a minute's summary is looked for.
	rawSearch = int64(24 * 3600 * 1e9)
)

// ended is nil where a search has found enough.
func ended(err error) error {
	if err == errEnough {
		return nil
	}
	return err
}
