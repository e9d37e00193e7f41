// A small web service on a socket that it inherits, with proper draining.
//
// The listening socket comes from the parent as descriptor 3 (LISTEN_FDS);
// started by hand, it binds $PORT.
//
// On SIGTERM it stops accepting, answers what is in progress and the next
// request of every kept-alive connection with "Connection: close", closes
// connections that stay silent for DRAIN_IDLE_MS, and exits.  net/http's own
// Shutdown is not enough: it closes idle connections at once, and with them
// the requests that are on their way.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const linger = time.Second

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// notify is sd_notify(3): it tells the manager about us.
func notify(message string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	// Go takes a leading "@" for an abstract name, as sd_notify does.
	to, err := net.DialUnix("unixgram", nil,
		&net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		to.Write([]byte(message))
		to.Close()
	}
}

// connection says goodbye before it closes: a close with unread bytes resets
// the connection, the last answer included.
type connection struct {
	*net.TCPConn
	active atomic.Int64 // UnixNano of the last bytes or the last answer.
	busy   atomic.Bool  // A request is in progress.
}

func (c *connection) Read(bytes []byte) (int, error) {
	n, err := c.TCPConn.Read(bytes)
	if n > 0 {
		c.active.Store(time.Now().UnixNano())
	}
	return n, err
}

func (c *connection) Close() error {
	c.TCPConn.CloseWrite()
	c.TCPConn.SetReadDeadline(time.Now().Add(linger))
	io.Copy(io.Discard, c.TCPConn)
	return c.TCPConn.Close()
}

// hasBytes is the last look before a silent connection is closed.
func (c *connection) hasBytes() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	raw.Control(func(fd uintptr) {
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1),
			syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0
}

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{TCPConn: accepted.(*net.TCPConn)}
	c.active.Store(time.Now().UnixNano())
	return c, nil
}

// service counts its connections, so that it knows when it is drained.
type service struct {
	draining atomic.Bool
	mutex    sync.Mutex
	alive    map[*connection]bool
	version  string
}

func (s *service) track(conn net.Conn, state http.ConnState) {
	c := conn.(*connection)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch state {
	case http.StateNew:
		s.alive[c] = true
	case http.StateActive:
		c.busy.Store(true)
	case http.StateIdle:
		c.active.Store(time.Now().UnixNano())
		c.busy.Store(false)
	case http.StateClosed, http.StateHijacked:
		delete(s.alive, c)
	}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := fmt.Sprintf("pid=%d worker=%s generation=%s version=%s\n",
		os.Getpid(), environment("REEVE_WORKER", "-"),
		environment("REEVE_GENERATION", "-"), s.version)
	status := http.StatusOK
	switch r.URL.Path {
	case "/":
	case "/health":
		body = "ok\n"
	case "/slow":
		ms := number(r.URL.Query().Get("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
	default:
		status, body = http.StatusNotFound, "no such page\n"
	}
	if s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// closeSilent closes the connections that have been silent for `idle` since
// `start`, and returns how many are left.
func (s *service) closeSilent(start time.Time, idle time.Duration) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for c := range s.alive {
		since := start
		if active := time.Unix(0, c.active.Load()); active.After(since) {
			since = active
		}
		if !c.busy.Load() && time.Since(since) >= idle && !c.hasBytes() {
			// The reader then sees the end, and net/http closes.
			c.SetReadDeadline(time.Now())
		}
	}
	return len(s.alive)
}

func listen() (net.Listener, error) {
	if number(os.Getenv("LISTEN_PID")) == os.Getpid() {
		return net.FileListener(os.NewFile(3, "listener"))
	}
	return net.Listen("tcp", "127.0.0.1:"+environment("PORT", "8080"))
}

func main() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGINT)
	socket, err := listen()
	if err != nil {
		log.Fatal(err)
	}
	s := &service{alive: map[*connection]bool{},
		version: environment("VERSION", "1")}
	server := &http.Server{Handler: s, ConnState: s.track}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener{socket}) }()
	notify("READY=1")

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if usec := number(os.Getenv("WATCHDOG_USEC")); usec > 0 {
		go kick(ctx, time.Duration(usec)*time.Microsecond/2)
	}
	select {
	case <-term:
	case err := <-served:
		log.Fatal(err)
	}
	start := time.Now()
	s.draining.Store(true)
	socket.Close()
	notify("STOPPING=1")
	// Every connection that was accepted is tracked once Serve has ended.
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		log.Print(err)
	}
	idle := time.Duration(number(environment("DRAIN_IDLE_MS", "2000")))
	for s.closeSilent(start, idle*time.Millisecond) > 0 {
		time.Sleep(2 * time.Millisecond)
	}
}

func kick(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			notify("WATCHDOG=1")
		}
	}
}
