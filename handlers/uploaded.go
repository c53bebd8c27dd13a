package handlers

import (
	"encoding/json"
	"net/http"

	"tracklane/internal/lane"
	"tracklane/internal/trackfile"
)

// uploadResponse is the response to files whose points were accepted: 201 if all are
// committed, 202 if some are only queued.
type uploadResponse struct {
	Status     string `json:"status"`
	Points     int    `json:"points"`
	Inserted   *int   `json:"inserted,omitempty"`
	Duplicates *int   `json:"duplicates,omitempty"`

	// FlightID is that of a single file; several have Files.
	FlightID string          `json:"flight_id,omitempty"`
	Files    []*uploadedFile `json:"files,omitempty"`

	Rejected      []fileRejection `json:"rejected"`
	RejectedTotal int             `json:"rejected_total"`
}

// uploadedFile is what became of a file.
type uploadedFile struct {
	Name          string           `json:"name"`
	FlightID      string           `json:"flight_id,omitempty"`
	Points        int              `json:"points"`
	Rejected      []lane.Rejection `json:"rejected"`
	RejectedTotal int              `json:"rejected_total"`
}

// fileRejection names a point, or with the field "file" a file or the rest of it,
// that was left out.
type fileRejection struct {
	File string `json:"file,omitempty"` // of several
	lane.Rejection
}

const (
	// rejectionsPerFile is how many rejections each of several files names, as long as
	// there are no more than maxFileRejections of all files; from then on each names
	// one.
	rejectionsPerFile = 10
	maxFileRejections = 1000

	// maxShownName is how many characters of a file's path a response shows: the last
	// ones.
	maxShownName = 200
)

// shownName is a file's path as a response shows it.
func shownName(name string) string {
	if len(name) <= maxShownName {
		return name
	}
	if runes := []rune(name); len(runes) > maxShownName {
		return "…" + string(runes[len(runes)-maxShownName+1:])
	}
	return name
}

// reject names a point of a file that is left out.
func (u *upload) reject(f *uploadedFile, r lane.Rejection) {
	u.rejectedTotal++
	f.RejectedTotal++
	if len(u.rejected) < lane.MaxRejections {
		u.rejected = append(u.rejected, fileRejection{f.Name, r})
	}
	if len(f.Rejected) == 0 || len(f.Rejected) < rejectionsPerFile && u.named < maxFileRejections {
		f.Rejected = append(f.Rejected, r)
		u.named++
	}
}

// blame names a file that cannot be read, or not to its end.
func (u *upload) blame(f *uploadedFile, fault *trackfile.FormatError) {
	if u.fault == nil {
		u.fault = fault
	}
	r := lane.Rejection{Field: "file", Error: fault.Reason}
	u.reject(f, r)
	f.Rejected[len(f.Rejected)-1] = r // whatever else there is
	if len(u.files) == 0 || u.files[len(u.files)-1] != f {
		u.files = append(u.files, f) // a container
	}
}

// unusable returns a problem if no point was accepted.
func (u *upload) unusable() *problem {
	if u.points > 0 {
		return nil
	}
	decoded := lane.Decoded{RejectedTotal: u.rejectedTotal}
	for _, r := range u.rejected {
		if len(u.files) > 1 {
			r.Error = r.File + ": " + r.Error
		}
		decoded.Rejected = append(decoded.Rejected, r.Rejection)
	}
	p := unusable(decoded)
	if u.fault != nil && len(u.files) == 1 {
		p.Detail = u.fault.Reason
		switch u.fault.Cause {
		case trackfile.Malformed:
			p.Status, p.Title = http.StatusBadRequest, "Malformed body"
		case trackfile.Unknown:
			p.Status, p.Title = http.StatusUnsupportedMediaType, "Wrong content type"
		case trackfile.Unusable:
		}
	}
	return p
}

// respond responds to an upload of which points were accepted.
func (u *upload) respond() {
	response := uploadResponse{Status: "queued", Points: u.points, Rejected: u.rejected, RejectedTotal: u.rejectedTotal}
	code := http.StatusAccepted
	if !u.queued {
		code, response.Status = http.StatusCreated, "stored"
		response.Inserted, response.Duplicates = &u.inserted, &u.duplicates
	}
	if len(u.files) == 1 {
		response.FlightID = u.files[0].FlightID
		for i := range response.Rejected {
			response.Rejected[i].File = ""
		}
	} else {
		response.Files = u.files
	}
	if response.Rejected == nil {
		response.Rejected = []fileRejection{}
	}
	for _, f := range u.files {
		if f.Rejected == nil {
			f.Rejected = []lane.Rejection{}
		}
	}
	text, err := json.Marshal(response)
	if err != nil { // numbers and strings always marshal
		text = []byte("{}")
	}
	u.c.Data(code, "application/json; charset=utf-8", append(text, '\n'))
}
