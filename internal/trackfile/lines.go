package trackfile

import (
	"bufio"
	"errors"
	"io"
)

// maxLine is the longest line that is read, in bytes.
const maxLine = 64 << 10

const tooLong = "the line is too long"

// lineReader reads lines that end in LF, CR or CRLF, which one file may mix.
type lineReader struct {
	source *bufio.Reader
	number int // of the line read last, from 1
	line   []byte
}

// newLineReader returns a reader of the source's lines, without a byte order mark.
func newLineReader(source *bufio.Reader) *lineReader {
	if mark, _ := source.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = source.Discard(len(mark)) // they are in the buffer
	}
	return &lineReader{source: source}
}

// each hands each line to read, as next returns it, until the source ends. It returns
// the first error of either.
func (r *lineReader) each(read func(line []byte, long bool) error) error {
	for {
		line, long, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = read(line, long)
		}
		if err != nil {
			return err
		}
	}
}

// next returns the next line, without its end; long says that it was longer than
// maxLine, and is cut off there. The line is good until the next call. The error at
// the end is io.EOF.
func (r *lineReader) next() (line []byte, long bool, err error) {
	r.line = r.line[:0]
	r.number++
	for begun := false; ; begun = true {
		c, err := r.source.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) && begun {
				return r.line, long, nil
			}
			return nil, false, err
		}
		switch {
		case c == '\n':
			return r.line, long, nil
		case c == '\r':
			if next, _ := r.source.Peek(1); len(next) == 1 && next[0] == '\n' {
				_, _ = r.source.Discard(1) // it is in the buffer
			}
			return r.line, long, nil
		case len(r.line) == maxLine:
			long = true
		default:
			r.line = append(r.line, c)
		}
	}
}
