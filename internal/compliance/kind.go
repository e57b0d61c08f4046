package compliance

import (
	"context"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/truechimer/truechimer/internal/rpc"
)

// Kind is what an entry of the journal is about: the number of the field of rpc.JournalEntry that
// is set.
type Kind uint8

// The kinds.
const (
	KindStarted Kind = iota + 1
	KindStopped
	KindConfigured
	KindSource
	KindMeasured
	KindSeconds
	KindMinute
	KindHour
	KindClock
	KindAlarm
	KindDelivery
	KindBreach
	KindPreOpen
	KindProbe
	KindHost
	KindOperation
	KindKey

	kindsEnd
)

// Kinds returns all kinds in their order.
func Kinds() []Kind {
	var all []Kind
	for k := Kind(1); k < kindsEnd; k++ {
		all = append(all, k)
	}
	return all
}

// String returns the name of the kind's field, empty where there is none.
func (k Kind) String() string {
	if f := entryFields().ByNumber(protoreflect.FieldNumber(k)); f != nil {
		return string(f.Name())
	}
	return ""
}

// Raw reports whether entries of the kind are kept for some days only.
func (k Kind) Raw() bool { return k == KindMeasured || k == KindSeconds || k == KindProbe }

// KindNamed returns the kind with a name.
func KindNamed(name string) (k Kind, ok bool) {
	f := entryFields().ByName(protoreflect.Name(name))
	if f == nil {
		return 0, false
	}
	return Kind(f.Number()), true
}

// KindOf returns what an entry is about; 0 where it says nothing.
func KindOf(e *rpc.JournalEntry) Kind {
	m := e.ProtoReflect()
	f := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
	if f == nil {
		return 0
	}
	return Kind(f.Number())
}

func entryFields() protoreflect.FieldDescriptors {
	return (*rpc.JournalEntry)(nil).ProtoReflect().Descriptor().Fields()
}

// Record is an entry as it stands in the journal.
type Record struct {
	Sequence uint64 // in its track
	Unix     int64  // when it was written, nanoseconds of the served clock
	Entry    *rpc.JournalEntry
}

// Journal is what can be read of the evidence.
type Journal interface {
	// Find visits the entries of the kinds, none of which is raw, that were written from since
	// on and before until, Unix nanoseconds, by their time; those of one time by their sequence. An
	// error of visit ends it and is returned.
	Find(ctx context.Context, since, until int64, kinds []Kind, visit func(Record) error) error
}
