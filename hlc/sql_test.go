package hlc_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/truechimer/truechimer/hlc"
)

// column is a database of one value: Exec stores its argument, Query returns it in a row.
type column struct{ value driver.Value }

func (c *column) Connect(context.Context) (driver.Conn, error)      { return c, nil }
func (c *column) Driver() driver.Driver                             { return nil }
func (c *column) Prepare(string) (driver.Stmt, error)               { return nil, errors.ErrUnsupported }
func (c *column) Begin() (driver.Tx, error)                         { return nil, errors.ErrUnsupported }
func (c *column) Close() error                                      { return nil }
func (c *column) Query(string, []driver.Value) (driver.Rows, error) { return &row{c.value}, nil }
func (c *column) Exec(_ string, args []driver.Value) (driver.Result, error) {
	c.value = args[0]
	return driver.RowsAffected(1), nil
}

// row is read once.
type row struct{ value any }

func (*row) Columns() []string { return []string{"at"} }
func (*row) Close() error      { return nil }
func (r *row) Next(dest []driver.Value) error {
	if r.value == io.EOF {
		return io.EOF
	}
	dest[0], r.value = r.value, io.EOF
	return nil
}

// TestColumn: what is stored is an int64 and comes back, NULL included.
func TestColumn(t *testing.T) {
	var c column
	db := sql.OpenDB(&c)
	defer db.Close()
	for _, ts := range []hlc.Timestamp{0, 1, hlc.FromUnix(1_795_329_730_123_456_789) + 17, math.MaxInt64} {
		if _, err := db.Exec("insert", ts); err != nil || c.value != int64(ts) {
			t.Errorf("%d was stored as %#v, %v", ts, c.value, err)
		}
		var back hlc.Timestamp
		if err := db.QueryRow("select").Scan(&back); err != nil || back != ts {
			t.Errorf("%d came back as %d, %v", ts, back, err)
		}
		null := sql.Null[hlc.Timestamp]{V: ts, Valid: true}
		if _, err := db.Exec("insert", null); err != nil || c.value != int64(ts) {
			t.Errorf("%d was stored as %#v, %v", ts, c.value, err)
		}
		null = sql.Null[hlc.Timestamp]{}
		if err := db.QueryRow("select").Scan(&null); err != nil || !null.Valid || null.V != ts {
			t.Errorf("%d came back as %v, %v", ts, null, err)
		}
		if _, err := db.Exec("insert", sql.Null[hlc.Timestamp]{V: ts}); err != nil || c.value != nil {
			t.Errorf("nothing was stored as %#v, %v", c.value, err)
		}
		if err := db.QueryRow("select").Scan(&null); err != nil || null.Valid {
			t.Errorf("nothing came back as %v, %v", null, err)
		}
		err := db.QueryRow("select").Scan(&back)
		if !errors.Is(err, hlc.ErrSyntax) || !strings.Contains(err.Error(), "sql.Null[hlc.Timestamp]") || back != ts {
			t.Errorf("nothing came back as %d, %v", back, err)
		}
	}
	for _, ts := range []hlc.Timestamp{math.MaxInt64 + 1, hlc.Max} {
		if _, err := db.Exec("insert", ts); err == nil || !strings.Contains(err.Error(), "2262") {
			t.Errorf("%d was stored as %#v, %v", ts, c.value, err)
		}
	}
}

// TestScan: what drivers hand over for a column of integers or text is read, and nothing else is
// guessed at.
func TestScan(t *testing.T) {
	const ts hlc.Timestamp = 12345678 // its decimal form is as long as its binary one
	binary, _ := ts.MarshalBinary()
	for name, c := range map[string]struct {
		src  any
		want hlc.Timestamp
		ok   bool
	}{
		"integer":          {int64(ts), ts, true},
		"zero":             {int64(0), 0, true},
		"greatest integer": {int64(math.MaxInt64), math.MaxInt64, true},
		"unsigned":         {uint64(ts), ts, true},
		"greatest of all":  {uint64(math.MaxUint64), hlc.Max, true},
		"decimal":          {"12345678", ts, true},
		"decimal bytes":    {[]byte("12345678"), ts, true},
		"text":             {hlc.Max.String(), hlc.Max, true},
		"text bytes":       {[]byte(hlc.Max.String()), hlc.Max, true},
		"beyond 2262":      {"18446744073709551615", hlc.Max, true},

		"NULL":          {src: nil},
		"negative":      {src: int64(-1)},
		"least":         {src: int64(math.MinInt64)},
		"binary":        {src: binary},
		"eight letters": {src: []byte("abcdefgh")},
		"empty":         {src: ""},
		"no bytes":      {src: []byte{}},
		"nil bytes":     {src: []byte(nil)},
		"padded":        {src: "12345678 "},
		"float":         {src: float64(ts)},
		"bool":          {src: true},
		"time":          {src: time.Unix(0, int64(ts))},
	} {
		got := hlc.Timestamp(7)
		err := got.Scan(c.src)
		switch {
		case c.ok && (err != nil || got != c.want):
			t.Errorf("%s: %d, %v", name, got, err)
		case !c.ok && (!errors.Is(err, hlc.ErrSyntax) || got != 7):
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

// A column of 64-bit integers holds timestamps, and sorts by them.
func ExampleTimestamp_Scan() {
	db := sql.OpenDB(new(column)) // a database/sql driver
	defer db.Close()

	t, err := hlc.Parse("2026-11-22T06:42:10.123456512Z+0017")
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := db.Exec("INSERT INTO orders (at) VALUES (?)", t); err != nil {
		fmt.Println(err)
		return
	}
	var at hlc.Timestamp
	if err := db.QueryRow("SELECT at FROM orders").Scan(&at); err != nil {
		fmt.Println(err)
		return
	}
	var paid sql.Null[hlc.Timestamp] // a column that may be NULL
	if err := db.QueryRow("SELECT paid FROM orders").Scan(&paid); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(at)
	// Output: 2026-11-22T06:42:10.123456512Z+0017
}
