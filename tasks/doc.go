// Package tasks carries points from the API into PostgreSQL: through asynq's queues
// in Redis or, when Redis does not accept them, directly.
//
// # The way of a point
//
// In the API, each step knows the next and none knows the one before:
//
//   - Enqueuer.Enqueue takes the points of a request.
//   - admission.admit refuses them while Redis has failed, the replay buffer is
//     full, or Redis holds as many as it may (backpressure). It is told of the
//     first two by the steps that follow, and asks none of them.
//   - batcher.submit joins the small requests of a lane to one write: group
//     commit.
//   - breaker.do makes each round trip, and reports one that failed.
//   - publisher.publish writes a payload as an asynq task: a batch task, or if
//     it is small, a task that waits in one of the lane's aggregation groups,
//     which groups.next chooses. replicas.await holds the acknowledgement back
//     until the replicas of Redis have it.
//   - replayBuffer.add keeps a copy of what Redis has acknowledged for as long
//     as Redis may forget it.
//
// Points that Redis does not accept go another way: Bypass.Write, which has a
// batcher for each lane, too, and store.Writer.WriteMerged.
//
// In a worker:
//
//   - aggregator.Aggregate joins the tasks of a group to a batch task.
//   - taskHandler.ProcessTask decodes the payload and writes it with a
//     store.Writer, in place again and again while the database is down.
//   - Worker.maintain recovers what a crashed process left behind, and the
//     drainer empties a Redis that is out of memory, where asynq cannot.
//
// One Monitor a process asks Redis for its state and tells the backpressure and
// the drainer, and flushes the waitingCounter, to which publisher, taskHandler and
// drainer tell what they did. An Inspector asks for what operators want to see.
//
// # Invariants
//
//   - Nothing is acknowledged from memory: Enqueue returns nil once Redis has
//     acknowledged the write.
//   - Any task may be written again at any time, since the key of each table
//     drops second copies. Whoever is in doubt writes again.
//   - A task is done once each of its points is in its table or in
//     rejected_points. Retries are unlimited, and asynq archives no task.
//   - A payload of a newer version stays in its queue for a newer worker.
//   - The names of the groups never change, so that a group that a crash left
//     behind is found again.
//
// # Keys
//
// asynq's own functions read and write nearly all of its keys. Those that this
// package touches itself are in keys.go.
package tasks
