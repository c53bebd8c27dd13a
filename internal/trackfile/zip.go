package trackfile

import (
	"bufio"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"unicode/utf8"
)

// zipReader reads a zip file from a stream, by its local headers (PKWARE's
// APPNOTE.TXT, 4.3), while archive/zip wants the directory at its end first.
type zipReader struct {
	source  *bufio.Reader
	current *zipEntry
}

// zipEntry is one file of a zip file. Its content is read before the next one.
type zipEntry struct {
	name string

	archive    *zipReader
	content    io.Reader
	flags      uint16
	crc        uint32
	sum        hash.Hash32
	ended      bool
	unreadable error // why there is no content
}

const (
	zipEncrypted  = 1 << 0
	zipDescriptor = 1 << 3  // sizes and checksum come behind the content
	zipUTF8       = 1 << 11 // of the name

	zipStored   = 0
	zipDeflated = 8

	maxZipName = 4 << 10
)

// next returns the next entry, or io.EOF.
func (z *zipReader) next() (*zipEntry, error) {
	signature, err := z.source.Peek(4)
	if err != nil {
		return nil, endOfSource(err)
	}
	switch string(signature) {
	case "PK\x03\x04":
	case "PK\x01\x02", "PK\x05\x06", "PK\x06\x08", "PK\x06\x06":
		return nil, io.EOF // the directory
	default:
		return nil, malformed("The zip file is damaged.")
	}
	var header [30]byte
	if _, err := io.ReadFull(z.source, header[:]); err != nil {
		return nil, endOfSource(err)
	}
	u16 := func(at int) uint16 { return binary.LittleEndian.Uint16(header[at:]) }
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(header[at:]) }
	name, extra := make([]byte, u16(26)), make([]byte, u16(28))
	if len(name) > maxZipName {
		return nil, malformed("The zip file has a name that is too long.")
	}
	for _, part := range [][]byte{name, extra} {
		if _, err := io.ReadFull(z.source, part); err != nil {
			return nil, endOfSource(err)
		}
	}
	size := int64(u32(18))
	if u32(18) == math.MaxUint32 {
		size = zip64Size(extra)
	}
	z.current = &zipEntry{name: textOf(name), archive: z, flags: u16(6), crc: u32(14), sum: crc32.NewIEEE()}
	return z.current, z.current.open(u16(8), size)
}

// open prepares the content. Its error concerns the whole zip file; what concerns
// the entry alone is what reading it returns.
func (e *zipEntry) open(method uint16, size int64) error {
	unknownSize := e.flags&zipDescriptor != 0
	stored := io.LimitReader(e.archive.source, size)
	switch {
	case size < 0:
		return malformed("The zip file is damaged.")
	case e.flags&zipEncrypted != 0:
		e.unreadable = malformed("The file is encrypted.")
	case method == zipDeflated:
		// It reads no byte too many of a source that is an io.ByteReader.
		e.content = flate.NewReader(e.archive.source)
		return nil
	case method != zipStored:
		e.unreadable = malformed(fmt.Sprintf("The file is compressed by the method %d of zip; use the usual one.", method))
	}
	if unknownSize && size == 0 {
		return malformed("The zip file says too late how large its files are; make it again, with compression.")
	}
	e.content = stored
	return nil
}

// zip64Size returns the compressed size that an extra field of zip64 says, or -1.
func zip64Size(extra []byte) int64 {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			return -1
		}
		if id == 1 && n >= 16 {
			return int64(binary.LittleEndian.Uint64(extra[8:]))
		}
		extra = extra[n:]
	}
	return -1
}

// Read implements io.Reader. It returns a *FormatError when the content does not
// have its checksum.
func (e *zipEntry) Read(p []byte) (int, error) {
	if e.unreadable != nil {
		return 0, e.unreadable
	}
	if e.ended {
		return 0, io.EOF
	}
	n, err := e.content.Read(p)
	e.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if err = e.end(); err == nil {
			return n, io.EOF
		}
		e.unreadable = err // bufio.Reader asks again
	}
	return n, err
}

// end reads what comes behind the content, and checks its sum.
func (e *zipEntry) end() error {
	e.ended = true
	if limited, ok := e.content.(*io.LimitedReader); ok && limited.N > 0 {
		return errBreaksOff()
	}
	if e.flags&zipDescriptor != 0 {
		if err := e.readDescriptor(); err != nil {
			return err
		}
	}
	if e.unreadable == nil && e.sum.Sum32() != e.crc {
		return malformed("The file is damaged: its checksum is wrong.")
	}
	return nil
}

// readDescriptor reads the checksum and the sizes behind the content. Whether they
// have a signature, and whether the sizes have four bytes or eight, shows from where
// the next header is.
func (e *zipEntry) readDescriptor() error {
	ahead, _ := e.archive.source.Peek(28) // a shorter rest is looked at all the same
	at := 0
	if len(ahead) >= 4 && string(ahead[:4]) == "PK\x07\x08" {
		at = 4
	}
	for _, sizes := range []int{8, 16} {
		if end := at + 4 + sizes; len(ahead) >= end+2 && string(ahead[end:end+2]) == "PK" {
			e.crc = binary.LittleEndian.Uint32(ahead[at:])
			_, err := e.archive.source.Discard(end)
			return err
		}
	}
	return malformed("The zip file is damaged, or breaks off.")
}

// finish skips the content of an entry that cannot be read.
func (z *zipReader) finish() error {
	e := z.current
	if e.ended {
		return nil
	}
	if _, err := io.Copy(io.Discard, e.content); err != nil {
		return err
	}
	return e.end()
}

// textOf returns text of unknown encoding: UTF-8 if it is that, else Latin-1.
func textOf(text []byte) string {
	if utf8.Valid(text) {
		return string(text)
	}
	runes := make([]rune, len(text))
	for i, b := range text {
		runes[i] = rune(b)
	}
	return string(runes)
}
