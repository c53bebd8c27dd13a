package asynqmon

import (
	"net/http"
	"slices"
	"strings"
)

// allowedActions are how the paths of the changes end that the UI lets its
// visitors make. None of them removes a task: a canceled task returns to its
// queue.
func allowedActions() []string {
	return []string{
		":pause", ":resume",
		":run", ":run_all", ":batch_run",
		":cancel", ":cancel_all", ":batch_cancel",
	}
}

// Reads reports whether a request to the UI changes nothing.
func Reads(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
}

// protectTasks passes on the requests that read, and the allowed actions. It
// refuses every other request, since a task that is deleted, or that asynq's
// archive drops because it is full, takes acknowledged points with it.
//
// asynqmon routes by the decoded path and matches the action at its end, so
// that is what is looked at here.
func protectTasks(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allowed := r.Method == http.MethodPost &&
			slices.ContainsFunc(allowedActions(), func(action string) bool { return strings.HasSuffix(r.URL.Path, action) })
		if !Reads(r) && !allowed {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "The tasks hold acknowledged points: they cannot be deleted or archived here. "+
				"Queues can be paused and resumed, and tasks can be run.", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}
