package handlers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
	"tracklane/internal/trackfile"
)

// What an upload of files may be. Files are read as they come, so they are bounded by
// what they cost others: disk, and time of the two cores that storing takes.
const (
	maxUpload   = 256 << 20 // bytes of a body
	maxExpanded = 1 << 30   // bytes of its compressed files, decompressed
	maxFiles    = 1000      // of a form or a zip file

	// maxRatio is how many times as large a compressed file may become, beyond the
	// first freeExpanded bytes. IGC and GPX become ten to forty times as large.
	maxRatio     = 100
	freeExpanded = 16 << 20

	// maxUploads is how many uploads of files are under way; each holds uploadMemory
	// bytes at the most, the text of its response included.
	maxUploads   = 16
	uploadMemory = 2 << 20

	// maxSenderUploads is how many of them may be of one pilot, or of one address
	// whose tokens name none.
	maxSenderUploads = 4

	// uploadBatch is how many points go to Redis or PostgreSQL at once.
	uploadBatch = 1000
)

// uploadBounds is how many points a request with files may store, and how many bytes
// of the table they may fill. A body's size does not bound them: a compressed file
// becomes larger, and a flight's texts are stored with each point.
type uploadBounds struct {
	points int
	stored int64
}

// postUpload handles the posts to the lane upload: our own JSON as on the other
// lanes, and files of flights.
func (s *Server) postUpload(ingest *Ingest, l *lane.Lane) gin.HandlerFunc {
	return s.forSenders(l, func(c *gin.Context, claims *auth.Claims, received time.Time) {
		body, problem := s.openUpload(c, l, claims)
		if problem != nil {
			problem.write(c, l)
			return
		}
		defer body.done()
		if body.files {
			s.acceptFiles(c, ingest, l, claims, body, received)
		} else {
			s.acceptPoints(c, ingest, l, claims, received)
		}
	})
}

// fileType returns the media type of a request with files, or a problem if it is
// that of something else. It is empty if the bytes alone say what they are.
func fileType(r *http.Request) (mediaType string, parameters map[string]string, _ *problem) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return "", nil, nil
	}
	mediaType, parameters, err := mime.ParseMediaType(header)
	switch {
	case err == nil && isJSON(mediaType):
		return "", nil, nil
	case err != nil || !strings.HasPrefix(mediaType, "text/") && !slices.Contains(trackfile.MediaTypes(), mediaType) &&
		!slices.Contains([]string{"multipart/form-data", "application/octet-stream", "application/x-www-form-urlencoded", "application/xml"}, mediaType):
		return "", nil, wrongType("Send the body as application/json, or a file as IGC, GPX, KML, KMZ, GeoJSON, CSV, NDJSON, a zip or gzip file of these, or a form of files.")
	}
	return mediaType, parameters, nil
}

func wrongType(detail string) *problem {
	return &problem{Status: http.StatusUnsupportedMediaType, Title: "Wrong content type", Detail: detail}
}

// upload is one request with files, while it is read and stored.
type upload struct {
	*Server
	c        *gin.Context
	ingestTo *Ingest
	lane     *lane.Lane
	claims   *auth.Claims
	options  lane.DecodeOptions
	flight   lane.Flight // what the query says of all files

	expanded int
	pacing   pacing
	ids      map[string]origin // of flights, to their files
	files    []*uploadedFile
	rejected []fileRejection
	named    int                    // rejections of files
	fault    *trackfile.FormatError // the first one

	queued               bool
	points               int   // accepted
	stored               int64 // bytes of the table that they fill
	inserted, duplicates int
	rejectedTotal        int
}

// acceptFiles stores the points of a body with files in batches while it is read.
func (s *Server) acceptFiles(c *gin.Context, ingest *Ingest, l *lane.Lane, claims *auth.Claims, body *uploadBody, received time.Time) {
	u := &upload{
		Server: s, c: c, ingestTo: ingest, lane: l, claims: claims, ids: make(map[string]origin),
		options: lane.DecodeOptions{Now: received, RequestID: requestID(c)},
		flight: lane.Flight{
			ID: c.Query("flight_id"), DeviceID: c.Query("device_id"), PilotID: c.Query("pilot_id"), RaceID: c.Query("race_id"),
		},
		pacing: pacing{ctx: c.Request.Context(), budget: s.budget},
	}
	problem := u.receive(body)
	if u.rejectedTotal > 0 {
		s.config.Recorder.Rejected(l, u.rejectedTotal)
	}
	if problem == nil {
		problem = u.unusable()
	}
	if problem != nil {
		problem.write(c, l)
		return
	}
	u.respond()
}

// receive reads and stores the files of the body.
func (u *upload) receive(body *uploadBody) *problem {
	r := u.c.Request
	mediaType, parameters, problem := fileType(r)
	if problem != nil {
		return problem
	}
	if r.ContentLength > maxUpload {
		return uploadTooLarge(fmt.Sprintf("A body must not exceed %d bytes; send the files in several requests.", maxUpload))
	}
	if !body.encoded { // or else it has a place
		leave, problem := u.takePlace(u.c, u.claims)
		if problem != nil {
			return problem
		}
		defer leave()
	}
	content := u.content(body)
	var err error
	if mediaType == "multipart/form-data" {
		err = u.readForm(content, parameters["boundary"])
	} else {
		err = u.walk(content, u.fileName(), mediaType)
	}
	return u.problem(err)
}

// fileName is what a body that is one file is called.
func (u *upload) fileName() string {
	if name := u.c.Query("filename"); name != "" {
		return name
	}
	_, parameters, err := mime.ParseMediaType(u.c.Request.Header.Get("Content-Disposition"))
	if err != nil {
		return ""
	}
	return parameters["filename"]
}

// readForm reads the files of a form: the parts with a file name, and those that
// are called "file".
func (u *upload) readForm(body io.Reader, boundary string) error {
	end := &tail{source: body}
	bounded := &boundedReader{source: end}
	form := multipart.NewReader(bounded, boundary)
	for parts := 0; ; parts++ {
		bounded.left = maxPartHeader
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) && bytes.Contains(end.bytes, []byte("--"+boundary+"--")) {
			return nil
		}
		if err == nil && (parts == maxFiles || len(part.Header) > maxPartFields) {
			err = trackfile.ErrLimits
		}
		if err != nil {
			return fmt.Errorf("read a form: %w", err)
		}
		if part.FileName() == "" && part.FormName() != "file" {
			bounded.left = maxBeforeFile
			if _, err := io.Copy(io.Discard, part); err != nil {
				return fmt.Errorf("read a field of a form: %w", err)
			}
			continue
		}
		bounded.left = math.MaxInt
		if err := u.walk(part, part.FileName(), part.Header.Get("Content-Type")); err != nil {
			return err
		}
	}
}

// tail keeps the last bytes that were read of its source. Package multipart does not
// tell a form that breaks off in a header from one that ends.
type tail struct {
	source io.Reader
	bytes  []byte
}

// Read implements io.Reader.
func (t *tail) Read(p []byte) (int, error) {
	const kept = 256 // a boundary has 70 at the most
	n, err := t.source.Read(p)
	t.bytes = append(t.bytes, p[max(0, n-kept):n]...)
	t.bytes = t.bytes[max(0, len(t.bytes)-kept):]
	return n, err
}

// walk stores the files of a source: of itself, or of the zip file that it is.
func (u *upload) walk(source io.Reader, name, mediaType string) error {
	limits := trackfile.Limits{
		Expanded: maxExpanded, Ratio: maxRatio, FreeExpanded: freeExpanded, Files: maxFiles,
		Pace: u.expand,
	}
	err := trackfile.Walk(source, name, mediaType, limits, u.store)
	var format *trackfile.FormatError
	if errors.As(err, &format) {
		u.blame(&uploadedFile{Name: shownName(name)}, format)
		return nil
	}
	return err
}

// expand counts bytes that came of compressed ones, and waits until they may be read.
func (u *upload) expand(n int) error {
	if u.expanded += n; u.expanded > maxExpanded {
		return trackfile.ErrLimits
	}
	return u.pacing.wait(n)
}

// problem returns what the client hears of an error that ended the upload; nil if
// points that were stored before it have to be acknowledged.
func (u *upload) problem(err error) *problem {
	var stop *stopError
	var limit *http.MaxBytesError
	var many *manyPointsError
	fault := &trackfile.FormatError{Reason: "The body ended before it was complete, or is malformed; send all of it again."}
	result := malformed(fault.Reason)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &stop):
		return stop.problem
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.Canceled):
		return &problem{
			Status: http.StatusServiceUnavailable, Title: "Body too slow",
			Detail: "The body did not come in time. Send all of it again, in several requests if it is large: what was stored of it is not stored twice.",
		}
	case errors.As(err, &limit):
		fault.Reason = fmt.Sprintf("A body must not exceed %d bytes; send the files in several requests.", maxUpload)
		result = uploadTooLarge(fault.Reason)
	case errors.As(err, &many):
		fault.Reason = many.Error()
		result = uploadTooLarge(fault.Reason)
	case errors.Is(err, trackfile.ErrLimits):
		fault.Reason = sentence(trackfile.ErrLimits.Error())
		result = uploadTooLarge(fault.Reason)
	}
	if u.points == 0 {
		return result
	}
	u.blame(&uploadedFile{}, fault)
	return nil
}

// manyPointsError says that a request would store more than one may.
type manyPointsError uploadBounds

func (e *manyPointsError) Error() string {
	return fmt.Sprintf("The files of a request must not hold more than %d points, and these not fill more than %d MB of the table with the texts of their flights; "+
		"send the files in several requests.", e.points, e.stored>>20)
}

func uploadTooLarge(detail string) *problem {
	return &problem{Status: http.StatusRequestEntityTooLarge, Title: "Body too large", Detail: detail}
}

// stopError is a problem that ends an upload.
type stopError struct{ problem *problem }

func (e *stopError) Error() string { return e.problem.Title }

// store reads a file and stores its points.
func (u *upload) store(file *trackfile.File) error {
	if len(u.files) == maxFiles {
		return trackfile.ErrLimits
	}
	f := &uploadedFile{Name: shownName(file.Name)}
	u.files = append(u.files, f)
	if held := int64(file.Held()); held > 0 {
		ctx, cancel := context.WithTimeout(u.c.Request.Context(), turnTimeout)
		defer cancel()
		if u.budget.held.Acquire(ctx, held) != nil {
			return &stopError{tooManyLargeRequests()}
		}
		defer u.budget.held.Release(held)
	}
	b := &uploadBatcher{upload: u, file: f}
	err := file.Read(trackfile.Sink{
		Fix: func(index int, fix lane.Fix) error {
			if f.FlightID == "" {
				if err := b.begin(file, fix); err != nil {
					return err
				}
			}
			return b.add(index, fix)
		},
		Reject: func(index int, field, reason string) {
			u.reject(f, lane.Rejection{Index: index, Field: field, Error: reason})
		},
	})
	var format *trackfile.FormatError
	if err != nil && !errors.As(err, &format) {
		return err
	}
	if format != nil {
		u.blame(f, format)
	}
	return b.flush()
}

// origin is the file of a flight: two of one name and one first fix are the same one.
type origin struct {
	name  string
	first lane.Fix
}

// flightID returns the id of a file's flight. Different files of one name in a request
// are different flights: the first has the id that its name says, the others more of
// their paths or, where these are the same, a mark of what they begin with. The same
// request has the same ids each time.
func (u *upload) flightID(file *trackfile.File, first lane.Fix) string {
	for _, id := range []string{u.flight.ID, file.FlightID} {
		if id != "" {
			return id
		}
	}
	id := trackfile.FlightID(file.Name)
	if id == "" {
		pilot := file.Pilot
		if u.claims != nil && u.claims.Pilot != "" {
			pilot = u.claims.Pilot
		} else if u.flight.PilotID != "" {
			pilot = u.flight.PilotID
		}
		if id = trackfile.RecordedID(pilot, lane.TimeOf(first.Time), file.Device); id == "" {
			return ""
		}
	}
	from := origin{file.Name, lane.Fix{Time: first.Time, Lat: first.Lat, Lon: first.Lon}}
	for _, candidate := range append([]string{id}, trackfile.LongerIDs(file.Name)...) {
		if other, taken := u.ids[candidate]; !taken || other == from {
			u.ids[candidate] = from
			return candidate
		}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%v", file.Name, from.first))
	return trackfile.FlightID(id + "-" + hex.EncodeToString(sum[:8]))
}

// uploadBatcher gathers the points of a file, and stores them batch by batch.
type uploadBatcher struct {
	*upload
	file    *uploadedFile
	track   lane.Track
	points  *lane.Points
	indexes []int // of the points, in the file
}

// begin finds out whose points they are when the first fix is known.
func (b *uploadBatcher) begin(file *trackfile.File, first lane.Fix) error {
	flight := b.flight
	if flight.ID = b.flightID(file, first); flight.ID == "" {
		return &trackfile.FormatError{Cause: trackfile.Unusable, Reason: "Nothing says which flight it is: add ?filename= or ?flight_id= to the address."}
	}
	if flight.DeviceID == "" {
		flight.DeviceID = file.Device
	}
	track, field, reason := flight.Track(b.options)
	if reason != "" {
		return &trackfile.FormatError{Cause: trackfile.Unusable, Reason: fmt.Sprintf("%s %s.", field, reason)}
	}
	b.track, b.file.FlightID = track, flight.ID
	return nil
}

func (b *uploadBatcher) add(index int, fix lane.Fix) error {
	if b.points == nil {
		b.points = lane.NewPoints(b.lane, uploadBatch)
		b.points.AddTrack(lane.Track{Fields: slices.Clone(b.track.Fields), ReceivedAt: b.track.ReceivedAt, RequestID: b.track.RequestID})
	}
	if field, reason := b.points.AddFix(0, fix, b.options.Now); reason != "" {
		b.reject(b.file, lane.Rejection{Index: index, Field: field, Error: reason})
		return nil
	}
	if b.indexes = append(b.indexes, index); len(b.indexes) < uploadBatch {
		return nil
	}
	return b.flush()
}

// flush stores what is gathered.
func (b *uploadBatcher) flush() error {
	if len(b.indexes) == 0 {
		return nil
	}
	if problem := claim(b.points, b.claims); problem != nil {
		return &stopError{problem}
	}
	size := b.points.StoredSize()
	if b.upload.points+b.points.Len() > b.uploadBounds.points || b.stored+size > b.uploadBounds.stored {
		return (*manyPointsError)(&b.uploadBounds)
	}
	decoded := lane.Decoded{Points: b.points}
	response, problem := b.ingest(b.c, b.ingestTo, b.lane, &decoded)
	if problem != nil && problem.Status != http.StatusUnprocessableEntity {
		if problem.Status == http.StatusServiceUnavailable {
			problem.Detail = "Not all points of this request are stored. Send all of it again after the time in Retry-After: no point is stored twice."
		}
		return &stopError{problem}
	}
	for _, refused := range decoded.Rejected {
		refused.Index = b.indexes[refused.Index]
		b.reject(b.file, refused)
	}
	unnamed := decoded.RejectedTotal - len(decoded.Rejected)
	b.rejectedTotal += unnamed
	b.file.RejectedTotal += unnamed
	b.file.Points += response.points
	b.upload.points += response.points
	b.stored += size
	b.queued = b.queued || response.code == http.StatusAccepted
	b.inserted += response.inserted
	b.duplicates += response.duplicates
	b.points, b.indexes = nil, b.indexes[:0]
	return nil
}
