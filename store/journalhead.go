package store

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	headTitle    = "tcj1"
	headFileName = "journal.head"
	headLenMax   = 512 // more than the longest head
	keyFileName  = "journal.key"
	keyTitle     = "truechimer journal key"
	keyLenMax    = 512
	tempSuffix   = ".tmp" // of a file that is being written
)

// JournalHead is where both tracks of a journal stood at some time, signed. Whoever has one can
// prove later that nothing up to there was changed. Its text is one line without spaces,
//
//	tcj1.ID.UNIX.SEQUENCE.HASH.SEQUENCE.HASH.KEY.SIGNATURE
//
// the id in hexadecimal, the first pair that of the evidence, hashes, key and signature in base64
// for URLs. The signature is Ed25519, of all before its dot.
type JournalHead struct {
	Journal string // ID of the store that the journal began in: 32 hexadecimal digits
	Unix    int64  // when it was signed, nanoseconds

	EvidenceSequence uint64
	EvidenceHash     [sha256.Size]byte
	RawSequence      uint64
	RawHash          [sha256.Size]byte

	Key       [ed25519.PublicKeySize]byte // that checks the signature
	Signature [ed25519.SignatureSize]byte
}

// at returns where a track stood. The time is not known.
func (h *JournalHead) at(t Track) JournalTip {
	if t == Raw {
		return JournalTip{Sequence: h.RawSequence, Hash: h.RawHash}
	}
	return JournalTip{Sequence: h.EvidenceSequence, Hash: h.EvidenceHash}
}

// signed is what is signed.
func (h JournalHead) signed() string {
	e := base64.RawURLEncoding
	return fmt.Sprintf("%s.%s.%d.%d.%s.%d.%s.%s", headTitle, h.Journal, h.Unix,
		h.EvidenceSequence, e.EncodeToString(h.EvidenceHash[:]), h.RawSequence, e.EncodeToString(h.RawHash[:]), e.EncodeToString(h.Key[:]))
}

// String returns the head as a line.
func (h JournalHead) String() string {
	return h.signed() + "." + base64.RawURLEncoding.EncodeToString(h.Signature[:])
}

// Check reports whether the head was signed with key; where key is nil, with the one that it
// names.
func (h JournalHead) Check(key ed25519.PublicKey) bool {
	if key != nil && !bytes.Equal(key, h.Key[:]) {
		return false
	}
	return ed25519.Verify(h.Key[:], []byte(h.signed()), h.Signature[:])
}

// ParseJournalHead reads a head as String writes it; space around it is ignored. It does not check
// the signature.
func ParseJournalHead(text string) (JournalHead, error) {
	text = strings.TrimSpace(text)
	fault := func(what string) (JournalHead, error) {
		return JournalHead{}, fmt.Errorf("%w: %.80q is not a head of a journal: %s; use the whole line as it was handed out, from %s. on", ErrRange, text, what, headTitle)
	}
	fields := strings.Split(text, ".")
	if len(text) > headLenMax || len(fields) != 9 || fields[0] != headTitle {
		return fault("it has other parts")
	}
	h := JournalHead{Journal: fields[1]}
	unix, unixErr := strconv.ParseInt(fields[2], 10, 64)
	evidence, evidenceErr := strconv.ParseUint(fields[3], 10, 64)
	raw, rawErr := strconv.ParseUint(fields[5], 10, 64)
	if errors.Join(unixErr, evidenceErr, rawErr) != nil {
		return fault("a number cannot be read")
	}
	h.Unix, h.EvidenceSequence, h.RawSequence = unix, evidence, raw
	for _, part := range []struct {
		text string
		to   []byte
	}{{fields[4], h.EvidenceHash[:]}, {fields[6], h.RawHash[:]}, {fields[7], h.Key[:]}, {fields[8], h.Signature[:]}} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(part.text)
		if err != nil || len(b) != len(part.to) {
			return fault("a hash, the key or the signature is not whole")
		}
		copy(part.to, b)
	}
	if store, err := hex.DecodeString(h.Journal); err != nil || len(store) != len(id{}) || h.String() != text { // one spelling only
		return fault("it is not spelt as it would be written")
	}
	return h, nil
}

// Sign signs where both tracks stand, writes the head to the file journal.head in the data
// directory, whole or not at all, and returns it. unix is the time, nanoseconds. It fails with
// ErrRange, ErrFenced and ErrClosed, and where the file cannot be written; then the file is as it was.
func (j *Journal) Sign(unix int64) (JournalHead, error) {
	if unix < 0 {
		return JournalHead{}, fmt.Errorf("%w: a head at %d ns, before 1970", ErrRange, unix)
	}
	j.signing.Lock()
	defer j.signing.Unlock()
	if err := j.store.usable(); err != nil {
		return JournalHead{}, err
	}
	state := j.state.Load()
	h := JournalHead{
		Journal: j.origin.String(), Unix: unix,
		EvidenceSequence: state.tips[Evidence].Sequence, EvidenceHash: state.tips[Evidence].Hash,
		RawSequence: state.tips[Raw].Sequence, RawHash: state.tips[Raw].Hash,
		Key: [ed25519.PublicKeySize]byte(j.key.Public().(ed25519.PublicKey)),
	}
	copy(h.Signature[:], ed25519.Sign(j.key, []byte(h.signed())))
	create := func(name string) (syncedFile, error) { return j.store.fs.Create(name, vfs.WriteCategoryUnspecified) }
	if err := replaceFile(j.store.fs, j.store.dir, headFileName, []byte(h.String()+"\n"), create); err != nil {
		return JournalHead{}, fmt.Errorf("write head of the journal: %w", err)
	}
	j.head.Store(&h)
	return h, nil
}

// readHeadFile reads the head in dir. It fails with fs.ErrNotExist where there is none, and with
// ErrDamaged where it is none.
func readHeadFile(fs vfs.FS, dir string) (JournalHead, error) {
	b, err := readShort(fs, fs.PathJoin(dir, headFileName), headLenMax)
	if err != nil {
		return JournalHead{}, err
	}
	h, err := ParseJournalHead(string(b))
	if err != nil {
		return JournalHead{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return h, nil
}

// readShort returns what is in a regular file. Its error wraps ErrDamaged where that is longer than
// most bytes, or no file.
func readShort(fs vfs.FS, name string, most int64) ([]byte, error) {
	switch info, err := fs.Stat(name); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > most: // opening a fifo would wait for ever
		return nil, fmt.Errorf("%w: %s is not a regular file of up to %d bytes", ErrDamaged, fs.PathBase(name), most)
	}
	return readAll(fs, name)
}

// syncedFile is a file that is being written.
type syncedFile interface {
	io.WriteCloser
	Sync() error
}

// replaceFile puts b into a file of dir, whole or not at all, and syncs it.
func replaceFile(fs vfs.FS, dir, name string, b []byte, create func(string) (syncedFile, error)) error {
	temp := fs.PathJoin(dir, name+tempSuffix)
	f, err := create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(temp, fs.PathJoin(dir, name)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// createSecret creates a file that nobody else may read, in place of one that there may be.
func createSecret(fs vfs.FS, name string) (syncedFile, error) {
	if fs != vfs.Default {
		return fs.Create(name, vfs.WriteCategoryUnspecified)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// encodeKey returns the text of the file of a key.
func encodeKey(key ed25519.PrivateKey) []byte {
	body := fmt.Sprintf("%s\ned25519 %x\n", keyTitle, key.Seed())
	return fmt.Appendf(nil, "%scrc32c %08x\n", body, checksum([]byte(body)))
}

// decodeKey reads what encodeKey writes, to the byte.
func decodeKey(b []byte) (ed25519.PrivateKey, error) {
	_, digits, _ := strings.Cut(string(b), "\ned25519 ")
	if len(digits) < 2*ed25519.SeedSize {
		return nil, errors.New("it is too short")
	}
	seed, err := hex.DecodeString(digits[:2*ed25519.SeedSize])
	if err != nil {
		return nil, errors.New("the key is not hexadecimal")
	}
	key := ed25519.NewKeyFromSeed(seed)
	if !bytes.Equal(encodeKey(key), b) {
		return nil, errors.New("the checksum does not match")
	}
	return key, nil
}

// loadKey reads the key in dir, and makes one where there is none.
func loadKey(fs vfs.FS, dir string) (key ed25519.PrivateKey, created bool, err error) {
	name := fs.PathJoin(dir, keyFileName)
	b, err := readShort(fs, name, keyLenMax)
	if err == nil {
		if key, err = decodeKey(b); err == nil {
			return key, false, nil
		}
	}
	if !errors.Is(err, iofs.ErrNotExist) {
		return nil, false, fmt.Errorf("read the key that signs, %q: %w; bring the file back, or remove it, and the next start makes a new key (what the old one signed stays provable)", name, err)
	}
	if _, key, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return nil, false, fmt.Errorf("make a key that signs: %w", err)
	}
	create := func(name string) (syncedFile, error) { return createSecret(fs, name) }
	if err := replaceFile(fs, dir, keyFileName, encodeKey(key), create); err != nil {
		return nil, false, fmt.Errorf("write the key that signs: %w", err)
	}
	return key, true, nil
}
