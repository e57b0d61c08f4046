package sysclock

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Drift is what is known of the machine's oscillator from before a restart. Its text is
//
//	truechimer drift
//	format 1
//	frequency_ppm -12.345678
//	skew_ppm 0.0123
//	written 2026-11-22T06:42:10Z
//	crc32c 0a1b2c3d
//
// Every later format keeps the first two lines and the checksum of all before it in the
// last, so that an old version can tell a newer file from a damaged one.
type Drift struct {
	FrequencyPPM float64   // the rate of true time to the local timeline, less 1
	SkewPPM      float64   // its standard deviation; not below 0
	Written      time.Time // to the second, by the clock that was served
}

const (
	// DriftName is the name of the file in the data directory.
	DriftName = "drift"

	driftFormat = 1
	driftTitle  = "truechimer drift"
	// driftMaxPPM is more than any oscillator is off, and as much as a clock can correct.
	driftMaxPPM = 100_000
	// driftLenMax is far more than a file of any version needs.
	driftLenMax = 4096
)

// DriftError reports a drift file that is there and cannot be used. Its text tells an
// operator what happens and what to do.
type DriftError struct {
	Path  string
	Cause error
	Newer bool // intact, but of a format that this version does not know
}

// Error says what happens.
func (e *DriftError) Error() string {
	remedy := "it will be replaced, and nothing needs to be done"
	if e.Newer {
		remedy = "a newer version wrote it, and this one will replace it"
	}
	return fmt.Sprintf("read drift file %q: %v: starting without it, so the frequency is measured anew; %s", e.Path, e.Cause, remedy)
}

// Unwrap returns the cause.
func (e *DriftError) Unwrap() error { return e.Cause }

// valid reports what is impossible about d.
func (d Drift) valid() error {
	switch {
	case !(math.Abs(d.FrequencyPPM) <= driftMaxPPM): // no number is refused, too
		return fmt.Errorf("a frequency of %v ppm is impossible", d.FrequencyPPM)
	case !(d.SkewPPM >= 0 && d.SkewPPM <= driftMaxPPM):
		return fmt.Errorf("a skew of %v ppm is impossible", d.SkewPPM)
	case d.Written.Year() < 2000 || d.Written.Year() > 9999:
		return fmt.Errorf("the year %d is impossible", d.Written.Year())
	}
	return nil
}

// encode returns the text of d.
func (d Drift) encode() []byte {
	body := fmt.Sprintf("%s\nformat %d\nfrequency_ppm %s\nskew_ppm %s\nwritten %s\n", driftTitle, driftFormat,
		strconv.FormatFloat(d.FrequencyPPM, 'f', -1, 64), strconv.FormatFloat(d.SkewPPM, 'f', -1, 64),
		d.Written.UTC().Format(time.RFC3339))
	return fmt.Appendf(nil, "%scrc32c %08x\n", body, driftSum(body))
}

func driftSum(body string) uint32 {
	return crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli))
}

// errDriftNewer reports an intact text of a format that this version does not know.
var errDriftNewer = errors.New("newer format")

// decodeDrift reads what encode writes. It fails with errDriftNewer on an intact text of a
// newer format.
func decodeDrift(text string) (Drift, error) {
	at := strings.LastIndex(text, "crc32c ")
	if at < 0 || text[at:] != fmt.Sprintf("crc32c %08x\n", driftSum(text[:at])) {
		return Drift{}, errors.New("the checksum does not match")
	}
	lines := strings.Split(text[:at], "\n")
	if len(lines) < 3 || lines[0] != driftTitle {
		return Drift{}, errors.New("the title is missing")
	}
	version, ok := strings.CutPrefix(lines[1], "format ")
	n, err := strconv.ParseUint(version, 10, 32)
	if !ok || err != nil {
		return Drift{}, errors.New("the format is missing")
	}
	if n > driftFormat {
		return Drift{}, fmt.Errorf("%w: %d (this version knows %d)", errDriftNewer, n, driftFormat)
	}
	if len(lines) != 6 {
		return Drift{}, errors.New("it has lines too many or too few")
	}
	var d Drift
	var failed [3]error
	d.FrequencyPPM, failed[0] = strconv.ParseFloat(strings.TrimPrefix(lines[2], "frequency_ppm "), 64)
	d.SkewPPM, failed[1] = strconv.ParseFloat(strings.TrimPrefix(lines[3], "skew_ppm "), 64)
	d.Written, failed[2] = time.Parse(time.RFC3339, strings.TrimPrefix(lines[4], "written "))
	if err := errors.Join(failed[:]...); err != nil {
		return Drift{}, errors.New("a line is not what it should be")
	}
	if err := d.valid(); err != nil {
		return Drift{}, err
	}
	if string(d.encode()) != text { // one spelling only
		return Drift{}, errors.New("it is not spelt as it would be written")
	}
	return d, nil
}

// ReadDrift reads a drift file. An error that wraps fs.ErrNotExist means that there is
// none; any other is a DriftError.
func ReadDrift(path string) (Drift, error) {
	text, err := readDriftText(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Drift{}, fmt.Errorf("read drift file: %w", err)
	}
	var d Drift
	if err == nil {
		d, err = decodeDrift(text)
	}
	if err != nil {
		return Drift{}, &DriftError{Path: path, Cause: err, Newer: errors.Is(err, errDriftNewer)}
	}
	return d, nil
}

// readDriftText opens nothing but a regular file: opening a fifo would wait for ever.
func readDriftText(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, driftLenMax))
	return string(b), errors.Join(err, f.Close())
}

// WriteDrift replaces the drift file, whole or not at all, and syncs it: after a power cut
// there is the old one or the new one. It waits for the disk, so the loop that steers a
// clock must not call it. One caller at a time.
func WriteDrift(path string, d Drift) error {
	if err := d.valid(); err != nil {
		return fmt.Errorf("write drift file %q: %w", path, err)
	}
	temp := path + ".tmp"
	err := writeSynced(temp, d.encode())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write drift file %q: %w", path, err)
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write drift file %q: %w", path, err)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	// Whatever is there is a leftover: it is removed and not opened.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
