package trackfile

import (
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	// maxToken is the largest tag or text that is read, in bytes. Text that nobody
	// wants, such as a line's coordinates, is skipped and may be longer.
	maxToken = 128 << 10

	maxDepth = 100 // of elements in one another
)

// rootPattern matches where the root element of an XML file begins.
func rootPattern(name string) *regexp.Regexp {
	return regexp.MustCompile(`<(?:[A-Za-z_][\w.-]*:)?` + name + `[\s>/]`)
}

// xmlReader reads the elements of an XML file by their local names, in any
// namespace. It holds one token at a time. Entities beyond XML's own five are
// errors, so none can grow.
type xmlReader struct {
	source  *xmlSource
	decoder *xml.Decoder
	path    []string // of the elements that are open
	end     bool     // the last one was closed
}

func newXMLReader(source *bufio.Reader) *xmlReader {
	if mark, _ := source.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = source.Discard(len(mark)) // they are in the buffer
	}
	r := &xmlReader{source: &xmlSource{r: source}}
	r.decoder = xml.NewDecoder(r.source)
	r.decoder.CharsetReader = charsetReader
	return r
}

// next returns the next xml.StartElement or xml.EndElement, and io.EOF behind the
// root element.
func (r *xmlReader) next() (xml.Token, error) {
	for {
		token, err := r.token()
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if r.end {
				return nil, malformed("There is more behind the end of the file's root element; send one file.")
			}
			if len(r.path) == maxDepth {
				return nil, malformed("The file has too many elements in one another.")
			}
			r.path = append(r.path, t.Name.Local)
			return t, nil
		case xml.EndElement:
			if len(r.path) == 0 || r.path[len(r.path)-1] != t.Name.Local {
				return nil, malformed(fmt.Sprintf("The file is not well-formed: </%s> closes nothing.", t.Name.Local))
			}
			r.path = r.path[:len(r.path)-1]
			r.end = len(r.path) == 0
			return t, nil
		}
	}
}

// token returns the next token of any kind.
func (r *xmlReader) token() (xml.Token, error) {
	r.source.left = maxToken
	token, err := r.decoder.RawToken()
	var syntax *xml.SyntaxError
	switch {
	case err == nil:
		return token, nil
	case errors.Is(err, io.EOF) && r.end:
		return nil, io.EOF
	case errors.Is(err, errToken):
		return nil, malformed("The file has a tag or a text that is too long.")
	case errors.Is(err, errCharset):
		return nil, malformed("The file is in an encoding that is not read; save it as UTF-8.")
	case errors.As(err, &syntax) && !strings.Contains(syntax.Msg, "EOF"):
		return nil, malformed(fmt.Sprintf("The file is not well-formed XML: line %d: %s.", syntax.Line, syntax.Msg))
	case syntax != nil:
		return nil, errBreaksOff()
	}
	return nil, endOfSource(err)
}

// skipText skips the text behind a tag. It may be called when next has returned
// that tag.
func (r *xmlReader) skipText() error {
	for {
		_, err := r.source.r.ReadSlice('<')
		switch {
		case err == nil:
			return r.source.r.UnreadByte()
		case errors.Is(err, io.EOF):
			return nil // next returns it again
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// text returns the text of the element that next has begun, and ends it. Elements
// inside are skipped.
func (r *xmlReader) text() (string, error) {
	depth := len(r.path)
	var text []byte
	for {
		token, err := r.token()
		if err != nil {
			return "", err
		}
		switch t := token.(type) {
		case xml.CharData:
			if len(text)+len(t) > maxToken {
				return "", malformed("The file has a text that is too long.")
			}
			text = append(text, t...)
		case xml.StartElement:
			if len(r.path) == maxDepth {
				return "", malformed("The file has too many elements in one another.")
			}
			r.path = append(r.path, t.Name.Local)
		case xml.EndElement:
			if r.path[len(r.path)-1] != t.Name.Local {
				return "", malformed(fmt.Sprintf("The file is not well-formed: </%s> closes nothing.", t.Name.Local))
			}
			if r.path = r.path[:len(r.path)-1]; len(r.path) < depth {
				r.end = len(r.path) == 0
				return strings.TrimSpace(string(text)), nil
			}
		}
	}
}

// inside reports whether an element of this name is open.
func (r *xmlReader) inside(name string) bool {
	for _, open := range r.path {
		if open == name {
			return true
		}
	}
	return false
}

// attribute returns an element's attribute, in any namespace; empty if there is none.
func attribute(element xml.StartElement, name string) string {
	for _, a := range element.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// errToken says that a token is too long.
var errToken = errors.New("a token is too long")

// xmlSource reads no more than left bytes.
type xmlSource struct {
	r    *bufio.Reader
	left int
}

// ReadByte implements io.ByteReader. It returns errToken when no bytes are left.
func (s *xmlSource) ReadByte() (byte, error) {
	if s.left == 0 {
		return 0, errToken
	}
	s.left--
	return s.r.ReadByte()
}

// Read implements io.Reader. It returns errToken when no bytes are left.
func (s *xmlSource) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, errToken
	}
	n, err := s.r.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

var errCharset = errors.New("unknown encoding")

// charsetReader decodes what is not UTF-8. What windows-1252 has beyond Latin-1 are
// signs in names, which no fix needs.
func charsetReader(label string, input io.Reader) (io.Reader, error) {
	source, ok := input.(io.ByteReader)
	switch strings.ToLower(label) {
	case "iso-8859-1", "latin1", "iso-8859-15", "windows-1252", "us-ascii", "ascii":
		if ok {
			return &latin1Reader{source: source}, nil
		}
	}
	return nil, errCharset
}

// latin1Reader encodes Latin-1 in UTF-8.
type latin1Reader struct {
	source io.ByteReader
	second byte // of the character under way; 0 = none
}

// ReadByte implements io.ByteReader.
func (r *latin1Reader) ReadByte() (byte, error) {
	if b := r.second; b != 0 {
		r.second = 0
		return b, nil
	}
	b, err := r.source.ReadByte()
	if err != nil || b < utf8.RuneSelf {
		return b, err
	}
	encoded := utf8.AppendRune(nil, rune(b))
	r.second = encoded[1]
	return encoded[0], nil
}

// Read implements io.Reader.
func (r *latin1Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}
