// Package apidoctest holds what tests send to a server, and what it responds, against
// the description of the API.
package apidoctest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"tracklane/internal/apidoc"
	"tracklane/internal/mappage"
)

// Description is what exchanges are held against. Any number of goroutines may use one
// at the same time.
type Description struct {
	paths      *openapi3.Paths
	components any // in JSON, which schemas refer to

	mu      sync.Mutex
	schemas map[*openapi3.SchemaRef]*jsonschema.Schema // nil = none
	faults  []string
}

// Run runs the tests of a package with run, such as m.Run, while each request of
// http.DefaultTransport is checked. It prints what differs from the description, and
// then returns 1. The clients that a test makes itself are checked with Over.
func Run(run func() int) int {
	d := shared()
	usual := http.DefaultTransport
	http.DefaultTransport = d.over(usual)
	code := run()
	http.DefaultTransport = usual
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, fault := range d.faults {
		fmt.Println("not as the API is described:", fault)
	}
	if len(d.faults) > 0 {
		return 1
	}
	return code
}

// Over returns a transport that checks what goes through another.
func Over(base http.RoundTripper) http.RoundTripper { return shared().over(base) }

// shared is the description of a test's process: to read it takes a while.
var shared = sync.OnceValue(func() *Description {
	if !testing.Testing() {
		panic("apidoctest is for tests")
	}
	text := apidoc.JSON()
	document, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		panic(fmt.Errorf("load the description of the API: %w", err))
	}
	var whole map[string]any
	if err := json.Unmarshal(text, &whole); err != nil {
		panic(fmt.Errorf("read the description of the API: %w", err))
	}
	return &Description{
		paths: document.Paths, components: whole["components"], schemas: map[*openapi3.SchemaRef]*jsonschema.Schema{},
	}
})

func (d *Description) over(base http.RoundTripper) http.RoundTripper { return &transport{d, base} }

type transport struct {
	*Description
	base http.RoundTripper
}

// RoundTrip implements http.RoundTripper. Bodies are checked as they are read, so
// that a stream stays one, and not beyond maxBody.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	x := &exchange{Description: t.Description, request: r}
	if r.Body != nil && r.Body != http.NoBody {
		sent := r.Clone(r.Context())
		sent.Body = &copied{ReadCloser: r.Body, into: &x.sent}
		r = sent
	}
	response, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := x.checkHead(response); err != nil {
		_ = response.Body.Close() // the other error is the one that counts
		return nil, err
	}
	if x.content != nil {
		response.Body = &copied{ReadCloser: response.Body, into: &x.received, ended: x.checkBodies}
	}
	return response, nil
}

// maxBody is how much of a body is checked.
const maxBody = 1 << 20

// prefix is what was read of a body. A server may respond while a request is still
// being sent.
type prefix struct {
	mu           sync.Mutex
	text         bytes.Buffer
	whole, large bool
}

// add adds what was read, and reports whether that was the end.
func (p *prefix) add(text []byte, err error) (ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text.Len()+len(text) > maxBody {
		p.large = true
	} else if !p.large {
		p.text.Write(text)
	}
	ended = errors.Is(err, io.EOF) && !p.whole
	p.whole = p.whole || ended
	return ended
}

// body is the whole body, unless it has not ended or is too large.
func (p *prefix) body() (text string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String(), p.whole && !p.large
}

// copied keeps what is read of a body.
type copied struct {
	io.ReadCloser
	into  *prefix
	ended func() error // may replace the end of the body; nil = no
}

// Read implements io.Reader.
func (c *copied) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.into.add(p[:n], err) && c.ended != nil {
		if fault := c.ended(); fault != nil {
			return n, fault
		}
	}
	return n, err
}

// exchange is a request and its response.
type exchange struct {
	*Description
	request        *http.Request
	operation      *openapi3.Operation
	status         int
	content        *openapi3.MediaType // of the response; nil if it is not checked
	isJSON         bool
	sent, received prefix
}

func (x *exchange) fault(format string, values ...any) error {
	err := fmt.Errorf("%s %s, response %d: %s", x.request.Method, x.path(), x.status, fmt.Sprintf(format, values...))
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.faults) < 100 {
		x.faults = append(x.faults, err.Error())
	}
	return err
}

// path is that of the request as it is sent, without the token that may be before it.
func (x *exchange) path() string {
	path := x.request.URL.EscapedPath()
	if x.request.URL.Opaque != "" {
		path = x.request.URL.Opaque
	}
	rest, found := strings.CutPrefix(path, "/t/")
	if !found {
		return path
	}
	_, path, _ = strings.Cut(rest, "/")
	return "/" + path
}

// find returns the path of the description that a request is for, or nil.
func (d *Description) find(path string) *openapi3.PathItem {
	parts := strings.Split(path, "/")
	for template, item := range d.paths.Map() {
		if slices.EqualFunc(strings.Split(template, "/"), parts, func(is, part string) bool {
			return is == part || strings.HasPrefix(is, "{") && part != ""
		}) {
			return item
		}
	}
	return nil
}

// checkHead checks the status and the header of a response, and the query of a request
// that was accepted.
func (x *exchange) checkHead(response *http.Response) error {
	x.status = response.StatusCode
	path := x.path()
	mediaType, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	item := x.find(path)
	for _, folder := range []string{"/asynqmon", "/page/", "/map/", "/docs/"} { // what pages load
		if strings.HasPrefix(path, folder) && path != mappage.TilesPath {
			return nil
		}
	}
	if x.request.Method == http.MethodOptions {
		return nil // browsers ask for themselves
	}
	if item != nil {
		x.operation = item.GetOperation(x.request.Method)
	}
	var described *openapi3.ResponseRef
	if x.operation != nil {
		described = x.operation.Responses.Value(strconv.Itoa(x.status))
	}
	if described == nil {
		// What the description says of every request.
		isGeneral := slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusInternalServerError}, x.status)
		if isGeneral && mediaType == "application/problem+json" || x.status == http.StatusRequestHeaderFieldsTooLarge {
			return nil
		}
		return x.fault("it is not described")
	}
	for name, header := range described.Value.Headers {
		if err := x.checkHeader(name, header.Value, response.Header.Get(name)); err != nil {
			return err
		}
	}
	if x.status < 300 {
		if err := x.checkQuery(); err != nil {
			return err
		}
	}
	if described.Value.Content == nil {
		return nil
	}
	if x.content = described.Value.Content.Get(mediaType); x.content == nil {
		return x.fault("the type %q is not described", mediaType)
	}
	x.isJSON = strings.HasSuffix(mediaType, "json")
	if !x.isJSON && mediaType != "text/plain" {
		x.content = nil
	}
	return nil
}

func (x *exchange) checkHeader(name string, header *openapi3.Header, text string) error {
	if text == "" {
		if header.Required {
			return x.fault("it has no header %s", name)
		}
		return nil
	}
	if err := x.check(header.Schema, text, false); err != nil {
		return x.fault("header %s: %v", name, err)
	}
	return nil
}

// checkQuery checks the parameters of a query, each of which has to be described.
func (x *exchange) checkQuery() error {
	if x.request.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(x.request.URL.RawQuery)
	if err != nil {
		return x.fault("the query: %v", err)
	}
	for name, values := range query {
		parameter := x.operation.Parameters.GetByInAndName("query", name)
		isToken := name == "token" && x.operation.Security != nil && len(*x.operation.Security) > 0
		if parameter == nil && !isToken && x.operation.Parameters.GetByInAndName("query", "others") == nil {
			return x.fault("the parameter %s of the query is not described", name)
		}
		for _, text := range values {
			if parameter != nil && text != "" {
				if err := x.check(parameter.Schema, text, false); err != nil {
					return x.fault("parameter %s: %v", name, err)
				}
			}
		}
	}
	return nil
}

// checkBodies checks the body of the response, and that of the request if all of it
// was accepted.
func (x *exchange) checkBodies() error {
	text, ok := x.received.body()
	if !ok {
		return nil
	}
	if err := x.check(x.content.Schema, text, x.isJSON); err != nil {
		return x.fault("the body %.200q: %v", text, err)
	}
	mediaType, _, _ := mime.ParseMediaType(x.request.Header.Get("Content-Type"))
	if x.status >= 300 || x.operation.RequestBody == nil || mediaType == "" {
		return nil
	}
	content := x.operation.RequestBody.Value.Content.Get(mediaType)
	if content == nil {
		return x.fault("the type %q of a body that was accepted is not described", mediaType)
	}
	sent, ok := x.sent.body()
	if !ok || mediaType != "application/json" || x.request.Header.Get("Content-Encoding") != "" || !isAccepted(text) {
		return nil
	}
	if err := x.check(content.Schema, sent, true); err != nil {
		return x.fault("the body %.200q, which was accepted: %v", sent, err)
	}
	return nil
}

// isAccepted reports whether a response says that a body was JSON of a lane, of which
// nothing was left out. A file has a flight's id in its response, and files a list.
func isAccepted(response string) bool {
	var report struct {
		Rejected *int            `json:"rejected_total"`
		FlightID string          `json:"flight_id"`
		Files    json.RawMessage `json:"files"`
	}
	return json.Unmarshal([]byte(response), &report) == nil && report.Rejected != nil && *report.Rejected == 0 &&
		report.FlightID == "" && report.Files == nil
}

// check checks a text: as JSON, or else as what a parameter or plain text is.
func (d *Description) check(ref *openapi3.SchemaRef, text string, isJSON bool) error {
	schema, err := d.compile(ref)
	if err != nil || schema == nil {
		return err
	}
	var value any = text
	if t := ref.Value.Type; isJSON || t.Is("integer") || t.Is("number") || t.Is("boolean") {
		if value, err = jsonschema.UnmarshalJSON(strings.NewReader(text)); err != nil {
			return fmt.Errorf("read it as JSON: %w", err)
		}
	}
	return schema.Validate(value)
}

// compile returns a schema ready to use, once for all exchanges: that takes longer
// than they do.
func (d *Description) compile(ref *openapi3.SchemaRef) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ref == nil || d.schemas[ref] != nil {
		return d.schemas[ref], nil
	}
	text, err := json.Marshal(ref)
	if err != nil {
		return nil, fmt.Errorf("write a schema: %w", err)
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read a schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("schema.json", map[string]any{"components": d.components, "schema": schema}); err != nil {
		return nil, fmt.Errorf("add a schema: %w", err)
	}
	d.schemas[ref], err = compiler.Compile("schema.json#/schema")
	return d.schemas[ref], err
}
