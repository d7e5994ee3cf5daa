// Record replays a corpus of requests against a running API server and writes what it answered.
//
//	record URL TOKEN < corpus.json > recording.json
//
// The corpus is a list of {"name", "method", "path", "type", "accept", "agent", "body"}; the
// recording is the same list with "status", "answer" and "date" (unix seconds of the answer). Only
// "path" is required. Requests run in order against one server, so later ones see earlier ones.
package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

type exchange struct {
	Name   string          `json:"name,omitempty"`
	Method string          `json:"method,omitempty"`
	Path   string          `json:"path"`
	Type   string          `json:"type,omitempty"`
	Accept string          `json:"accept,omitempty"`
	Agent  string          `json:"agent,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
	Status int             `json:"status"`
	Date   int64           `json:"date"`
	Answer json.RawMessage `json:"answer"`
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url, token string) error {
	var corpus []exchange
	if err := json.NewDecoder(os.Stdin).Decode(&corpus); err != nil {
		return err
	}
	// A throwaway server on loopback with a certificate it made for itself.
	client := &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	for i := range corpus {
		if err := corpus[i].send(client, url, token); err != nil {
			return fmt.Errorf("%s %s: %w", corpus[i].Method, corpus[i].Path, err)
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", " ")
	return out.Encode(corpus)
}

func (e *exchange) send(client *http.Client, url, token string) error {
	method := e.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequest(method, url+e.Path, bytes.NewReader(e.Body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for name, value := range map[string]string{"Content-Type": e.Type, "Accept": e.Accept, "User-Agent": e.Agent} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if e.Type == "" && len(e.Body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if !json.Valid(answer) {
		answer, _ = json.Marshal(string(answer))
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return err
	}
	e.Status, e.Answer, e.Date = resp.StatusCode, answer, date.Unix()
	return nil
}
