package hlc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Timestamp is Unix time in nanoseconds whose low LogicalBits bits hold a logical
// counter in place of the nanoseconds that no clock can tell. Physical time thus
// advances in ticks of 1.024 µs, 1024 timestamps share a tick, and a full counter
// carries into the next one. Integer order is causal order, and it is also the order
// of the big-endian bytes and of the text. It reaches from 1970 to 2554, and fits a
// signed 64-bit column until 2262.
type Timestamp uint64

const (
	// LogicalBits is the width of the logical part.
	LogicalBits = 10
	// Tick is the grain of the physical part.
	Tick = time.Duration(1) << LogicalBits
	// LogicalMax is the greatest logical part.
	LogicalMax = 1<<LogicalBits - 1
	// Max is the greatest timestamp, in the year 2554.
	Max Timestamp = math.MaxUint64

	logicalMask = LogicalMax
)

// ErrSyntax reports text, JSON, bytes, a UUID or the value of a column that is no timestamp.
var ErrSyntax = errors.New("hlc: not a timestamp")

// FromUnix returns the first timestamp of the tick that holds ns, a Unix time in
// nanoseconds. Times before 1970 give 0.
func FromUnix(ns int64) Timestamp {
	return Timestamp(max(ns, 0)) &^ logicalMask
}

// CeilUnix returns the first timestamp that is not below ns, a Unix time in
// nanoseconds, and whose logical part is 0.
func CeilUnix(ns int64) Timestamp {
	return (Timestamp(max(ns, 0)) + logicalMask) &^ logicalMask
}

// Time returns the physical part, in UTC. It is right to a tick.
func (t Timestamp) Time() time.Time {
	p := uint64(t &^ logicalMask)
	return time.Unix(int64(p/1e9), int64(p%1e9)).UTC()
}

// Logical returns the logical part, 0 to LogicalMax.
func (t Timestamp) Logical() int { return int(t & logicalMask) }

// Sub returns t−u as physical time, saturating at the ends of time.Duration. It is
// exact to a tick.
func (t Timestamp) Sub(u Timestamp) time.Duration {
	if t >= u {
		return time.Duration(min(uint64(t-u), math.MaxInt64))
	}
	if d := uint64(u - t); d <= math.MaxInt64 {
		return -time.Duration(d)
	}
	return math.MinInt64
}

// textLayout is the physical part of the text form; textLen counts the logical part
// with its sign too.
const (
	textLayout = "2006-01-02T15:04:05.000000000Z"
	textLen    = len(textLayout) + len("+0000")
)

// String returns the text form, such as 2026-11-22T06:42:10.123456512Z+0017: the
// physical part with nine digits, then the logical part with four. Text sorts like
// the timestamps.
func (t Timestamp) String() string {
	b, _ := t.AppendText(make([]byte, 0, textLen))
	return string(b)
}

// AppendText appends the text form of t to b. The error is always nil.
func (t Timestamp) AppendText(b []byte) ([]byte, error) {
	b = t.Time().AppendFormat(b, textLayout)
	l := t.Logical()
	return append(b, '+', byte('0'+l/1000), byte('0'+l/100%10), byte('0'+l/10%10), byte('0'+l%10)), nil
}

// MarshalText returns the text form. The error is always nil.
func (t Timestamp) MarshalText() ([]byte, error) { return t.AppendText(nil) }

// UnmarshalText accepts what Parse accepts.
func (t *Timestamp) UnmarshalText(b []byte) error {
	u, err := Parse(string(b))
	if err != nil {
		return err
	}
	*t = u
	return nil
}

// Parse reads either form of a timestamp: the text that String writes, or the
// decimal integer. Only the canonical spelling is accepted, so that equal timestamps
// have equal text. The error wraps ErrSyntax.
func Parse(s string) (Timestamp, error) {
	if len(s) == textLen {
		return parseText(s)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%w: %.40q (want a decimal integer or the form %s+0000)", ErrSyntax, s, "2006-01-02T15:04:05.000000512Z")
	}
	return Timestamp(n), nil
}

func parseText(s string) (Timestamp, error) {
	physical, err := time.Parse(textLayout, s[:len(textLayout)])
	if err != nil {
		return 0, fmt.Errorf("%w: %q: %v", ErrSyntax, s, err)
	}
	logical, err := strconv.ParseUint(s[len(textLayout)+1:], 10, LogicalBits)
	if err != nil {
		return 0, fmt.Errorf("%w: %q: the logical part must be 0000 to %d", ErrSyntax, s, LogicalMax)
	}
	sec := physical.Unix()
	if sec < 0 || sec > int64(Max/1e9) {
		return 0, fmt.Errorf("%w: %q: the year must be 1970 to 2554", ErrSyntax, s)
	}
	t := Timestamp(sec)*1e9 + Timestamp(physical.Nanosecond()) + Timestamp(logical)
	// One spelling per timestamp: this catches a time between two ticks, a decimal
	// comma, a missing sign and a wrap past Max alike.
	if t.String() != s {
		return 0, fmt.Errorf("%w: %q: the time is not a multiple of %v, or is not spelt as it would be written", ErrSyntax, s, Tick)
	}
	return t, nil
}

// MarshalJSON returns the decimal integer as a string: a JSON number would lose its
// low bits in most readers. The error is always nil.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	b := strconv.AppendUint([]byte{'"'}, uint64(t), 10)
	return append(b, '"'), nil
}

// UnmarshalJSON accepts a string that holds what Parse accepts. The error wraps
// ErrSyntax.
func (t *Timestamp) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return fmt.Errorf("%w: JSON %.40q (want a string: a number would lose digits)", ErrSyntax, b)
	}
	return t.UnmarshalText(b[1 : len(b)-1])
}

// AppendBinary appends the 8 big-endian bytes of t, which sort like the timestamps.
// The error is always nil.
func (t Timestamp) AppendBinary(b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(b, uint64(t)), nil
}

// MarshalBinary returns the 8 big-endian bytes of t. The error is always nil.
func (t Timestamp) MarshalBinary() ([]byte, error) { return t.AppendBinary(nil) }

// UnmarshalBinary reads what MarshalBinary writes. The error wraps ErrSyntax.
func (t *Timestamp) UnmarshalBinary(b []byte) error {
	if len(b) != 8 {
		return fmt.Errorf("%w: %d bytes, want 8", ErrSyntax, len(b))
	}
	*t = Timestamp(binary.BigEndian.Uint64(b))
	return nil
}

// In a UUIDv7 the timestamp is taken as a count of nanoseconds: its milliseconds go
// where RFC 9562 wants them, the rest (20 bits) fills rand_a and the top of rand_b,
// the node number comes next, and the last 38 bits are zero. The order of
// (milliseconds, rest) is the order of the integer, so the map keeps order and can be
// undone.
const (
	nsPerMs       = 1_000_000
	uuidVersion   = 0x7
	uuidVariant   = 0b10
	uuidNodeShift = 38
)

// UUID returns a UUID of version 7 that carries t and the number of the node that
// issued it: bytes sort by timestamp, then by node. Source: RFC 9562, section 5.7.
func (t Timestamp) UUID(node uint16) [16]byte {
	ms, rest := uint64(t)/nsPerMs, uint64(t)%nsPerMs
	var u [16]byte
	binary.BigEndian.PutUint64(u[:8], ms<<16|uuidVersion<<12|rest>>8)
	binary.BigEndian.PutUint64(u[8:], uuidVariant<<62|rest&0xff<<54|uint64(node)<<uuidNodeShift)
	return u
}

// FromUUID undoes UUID. Any other UUID gives an error that wraps ErrSyntax.
func FromUUID(u [16]byte) (t Timestamp, node uint16, err error) {
	hi, lo := binary.BigEndian.Uint64(u[:8]), binary.BigEndian.Uint64(u[8:])
	ms, rest := hi>>16, hi&0xfff<<8|lo>>54&0xff
	t, node = Timestamp(ms*nsPerMs+rest), uint16(lo>>uuidNodeShift)
	if t.UUID(node) != u {
		return 0, 0, fmt.Errorf("%w: UUID %x does not carry one", ErrSyntax, u)
	}
	return t, node, nil
}
