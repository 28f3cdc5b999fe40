// Command floor creates objects in an API server as fast as a bare client can: it reads lines "PATH TAB JSON" from its
// standard input, then POSTs them over HTTP/2, so many at once, and prints the seconds that took. A line "PATCH PATH
// TAB JSON" is merged into what is there. It knows no kinds, keeps no state and waits for nothing: what a controller
// takes beyond it is the controller's.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

type object struct {
	path string
	body []byte
}

func main() {
	server := flag.String("server", "", "URL of the API server")
	authority := flag.String("ca", "", "file with the certificate of its authority")
	certificate := flag.String("cert", "", "file with the client certificate")
	key := flag.String("key", "", "file with the key of the client certificate")
	parallel := flag.Int("parallel", 50, "requests at once")
	flag.Parse()

	client := connect(*authority, *certificate, *key)
	objects := read(os.Stdin)
	began := time.Now()
	work := make(chan object)
	var workers sync.WaitGroup
	for range *parallel {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for one := range work {
				post(client, *server, one)
			}
		}()
	}
	for _, one := range objects {
		work <- one
	}
	close(work)
	workers.Wait()
	fmt.Printf("%.6f\n", time.Since(began).Seconds())
}

func connect(authority, certificate, key string) *http.Client {
	trusted, err := os.ReadFile(authority)
	must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusted)
	identity, err := tls.LoadX509KeyPair(certificate, key)
	must(err)
	return &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{identity}},
	}}
}

func read(from io.Reader) []object {
	var found []object
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 1<<20), 16<<20)
	for lines.Scan() {
		path, body, _ := bytes.Cut(lines.Bytes(), []byte("\t"))
		found = append(found, object{string(path), bytes.Clone(body)})
	}
	must(lines.Err())
	return found
}

func post(client *http.Client, server string, one object) {
	method, kind, path := http.MethodPost, "application/json", one.path
	if rest, found := strings.CutPrefix(path, "PATCH "); found {
		method, kind, path = http.MethodPatch, "application/merge-patch+json", rest
	}
	request, err := http.NewRequest(method, server+path, bytes.NewReader(one.body))
	must(err)
	request.Header.Set("Content-Type", kind)
	answer, err := client.Do(request)
	must(err)
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	must(err)
	if answer.StatusCode >= http.StatusMultipleChoices {
		log.Fatalf("%s %s: %s: %s", method, path, answer.Status, said)
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
