package hlc

import (
	"database/sql/driver"
	"fmt"
	"math"
)

// Value returns t as the int64 of a column, whose order is that of the timestamps. It fails
// for a timestamp that a signed column cannot hold, from the year 2262 on. It makes
// Timestamp a driver.Valuer.
func (t Timestamp) Value() (driver.Value, error) {
	if t > math.MaxInt64 {
		return nil, fmt.Errorf("hlc: %v does not fit the int64 of a column, which ends in 2262: store its text, String()", t)
	}
	return int64(t), nil
}

// Scan reads a column: an integer, or a string or []byte that holds what Parse accepts. Bytes are
// always text: the eight bytes of MarshalBinary could be a number of eight digits as well, and
// are for UnmarshalBinary. Anything else is an error that wraps ErrSyntax and leaves t as it
// was. So is NULL: scan what may be NULL into a sql.Null[hlc.Timestamp]. It makes *Timestamp a
// sql.Scanner.
func (t *Timestamp) Scan(src any) error {
	switch src := src.(type) {
	case int64:
		if src < 0 {
			return fmt.Errorf("%w: %d in a column: it is before 1970; store what Value returns", ErrSyntax, src)
		}
		*t = Timestamp(src)
		return nil
	case uint64: // no driver.Value by the book, but what drivers give for a column of unsigned integers
		*t = Timestamp(src)
		return nil
	case string:
		return t.UnmarshalText([]byte(src))
	case []byte:
		return t.UnmarshalText(src)
	case nil:
		return fmt.Errorf("%w: the column is NULL: scan it into a sql.Null[hlc.Timestamp]", ErrSyntax)
	default:
		return fmt.Errorf("%w: a column of Go type %T: make it a 64-bit integer or text", ErrSyntax, src)
	}
}
