package handlers

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/internal/tracker"
)

// routeTrackers routes what the apps of phones send to the lane live.
func (s *Server) routeTrackers(router *gin.Engine, ingest *Ingest, live *lane.Lane) {
	for _, adapter := range tracker.All() {
		for _, route := range adapter.Routes {
			router.Handle(route.Method, route.Path, s.handleTracker(ingest, live, adapter))
		}
	}
}

// handleTracker handles what one app sends. What it can never send rightly gets the
// app's success, so that it does not come again: it is counted and logged.
func (s *Server) handleTracker(ingest *Ingest, l *lane.Lane, adapter *tracker.Adapter) gin.HandlerFunc {
	return func(c *gin.Context) {
		received := time.Now()
		defer func() { s.config.Recorder.Request(l, c.Writer.Status(), time.Since(received)) }()
		requestID(c)
		sender, claims, problem := s.authorizeTracker(c, l, adapter, received)
		if problem = s.limitToken(c, claims, problem, received); problem != nil {
			s.writeFailure(c, l, adapter, problem)
			return
		}
		report, response, problem := s.acceptReport(c, ingest, l, adapter, sender, received)
		if problem != nil {
			s.writeFailure(c, l, adapter, problem)
			return
		}
		writeSuccess(c, adapter, report, response)
	}
}

// acceptReport reads what an app sent and stores its positions. The problem is nil
// when nothing of it is to be sent again, although some of it may be rejected.
func (s *Server) acceptReport(
	c *gin.Context, ingest *Ingest, l *lane.Lane, adapter *tracker.Adapter, sender tracker.Sender, received time.Time,
) (report tracker.Report, response ingestResponse, p *problem) {
	body, p := s.readAnyBody(c, l)
	defer body.release()
	if p != nil {
		return report, response, p
	}
	space, done, p := s.budget.takeTurn(c.Request.Context(), body.size)
	if p != nil {
		return report, response, p
	}
	defer done()
	report, err := adapter.Read(c.Request, body.text(space))
	var malformed *lane.MalformedError
	if err != nil && !errors.As(err, &malformed) {
		return report, response, decodeProblem(err)
	}
	report.Identify(sender)
	decoded := adapter.Decode(l, report, sender, lane.DecodeOptions{Now: received, RequestID: requestID(c)})
	if report.Distress != "" {
		call := metrics.DistressCall{
			At: time.Now(), App: adapter.Name, From: callerOf(c, sender), Flight: decoded.Response.Value,
			Pilot: sender.Pilot, Race: sender.Race, Device: shortened(report.Device), Says: report.Distress,
		}
		s.distress(c, call, report.Positions)
	}
	if malformed != nil {
		decoded.Reject(0, "", malformed.Reason)
	}
	if decoded.RejectedTotal > 0 {
		s.logRejected(c, l, adapter, &decoded)
	}
	response = ingestResponse{status: "nothing stored", decoded: &decoded}
	if decoded.Points.Len() == 0 {
		return report, response, nil
	}
	stored, p := s.ingest(c, ingest, l, &decoded)
	if p != nil && p.Status == http.StatusUnprocessableEntity { // the dead-letter table has the points
		return report, response, nil
	}
	return report, stored, p
}

// logRejected counts what an app sent that can never be stored, and logs it unless
// much of it comes.
func (s *Server) logRejected(c *gin.Context, l *lane.Lane, adapter *tracker.Adapter, decoded *lane.Decoded) {
	s.config.Recorder.Rejected(l, decoded.RejectedTotal)
	s.config.Recorder.TrackerRejected(adapter.Name, decoded.RejectedTotal)
	if s.rejectedLog.Allow() {
		first := decoded.Rejected[0]
		s.config.Logger.Warn("an app sent what can never be stored", "app", adapter.Name, "rejected", decoded.RejectedTotal,
			"field", first.Field, "reason", first.Error, "request_id", requestID(c))
	}
}

// distress makes it known that a pilot needs help: in the log, to Prometheus, on the
// operators' page and on the map.
func (s *Server) distress(c *gin.Context, call metrics.DistressCall, positions []tracker.Position) {
	if n := len(positions); n > 0 && math.Abs(positions[n-1].Fix.Lat) <= 90 && math.Abs(positions[n-1].Fix.Lon) <= 180 {
		call.Lat, call.Lon = &positions[n-1].Fix.Lat, &positions[n-1].Fix.Lon
	}
	s.config.Recorder.Distress(call)
	s.config.Logger.Warn(distressLine(call), "request_id", requestID(c))
}

// callerOf is who sent a distress call: the pilot of a token, or else a network.
func callerOf(c *gin.Context, sender tracker.Sender) string {
	if sender.Pilot != "" {
		return fmt.Sprintf("pilot %q of %q", sender.Pilot, sender.Race)
	}
	return addressSender(c)
}

// shortened is a device's id, which may be anything, of a length to show.
func shortened(id string) string {
	const longest = 100
	runes := []rune(strings.ToValidUTF8(id[:min(len(id), 4*longest)], "?"))
	return string(runes[:min(len(runes), longest)])
}

func writeSuccess(c *gin.Context, adapter *tracker.Adapter, report tracker.Report, response ingestResponse) {
	success := adapter.Success
	if success.ContentType == "" {
		c.Data(success.Status, "application/json; charset=utf-8", response.appendJSON(make([]byte, 0, 160)))
		return
	}
	if report.Body != "" {
		success.Body = report.Body
	}
	c.Data(success.Status, success.ContentType, []byte(success.Body))
}

// writeFailure responds with a problem as the app understands it. What gets the app's
// success, so that it does not come again, is counted and logged.
func (s *Server) writeFailure(c *gin.Context, l *lane.Lane, adapter *tracker.Adapter, p *problem) {
	if adapter.Failure == nil {
		p.write(c, nil)
		return
	}
	if p.Status == http.StatusServiceUnavailable {
		c.Header("Retry-After", retryAfter)
	}
	response := adapter.Failure(c.Request, p.Status, p.Detail)
	if response == adapter.Success {
		var dropped lane.Decoded
		dropped.Reject(0, "", p.Detail)
		s.logRejected(c, l, adapter, &dropped)
	}
	c.Data(response.Status, response.ContentType, []byte(response.Body))
}
