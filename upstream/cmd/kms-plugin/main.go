// Kms-plugin is a KMS v2 plugin on upstream's own gRPC service (k8s.io/kms/pkg/service): it seals
// with AES-256-GCM under keys that it makes of a file.
//
//	kms-plugin -listen /run/kms.sock -keys FILE
//
// Each line of FILE is a key; the last one seals, all open. The file is read at every call.
package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/kms/pkg/service"
)

const nonceAnnotation = "nonce.kms-plugin.example"

type plugin struct{ file string }

// keys are the ciphers of the file's lines, by the name of the key, and the name of the last.
func (p plugin) keys() (map[string]cipher.AEAD, string, error) {
	text, err := os.ReadFile(p.file)
	if err != nil {
		return nil, "", err
	}
	all, last := map[string]cipher.AEAD{}, ""
	for _, line := range strings.Fields(string(text)) {
		sum := sha256.Sum256([]byte(line))
		block, err := aes.NewCipher(sum[:])
		if err != nil {
			return nil, "", err
		}
		sealing, err := cipher.NewGCM(block)
		if err != nil {
			return nil, "", err
		}
		name := sha256.Sum256(sum[:])
		last = fmt.Sprintf("key-%x", name[:4])
		all[last] = sealing
	}
	if last == "" {
		return nil, "", errors.New("no key in the file")
	}
	return all, last, nil
}

func (p plugin) Status(context.Context) (*service.StatusResponse, error) {
	_, last, err := p.keys()
	health := "ok"
	if err != nil {
		health, last = err.Error(), "none"
	}
	return &service.StatusResponse{Version: "v2", Healthz: health, KeyID: last}, nil
}

func (p plugin) Encrypt(_ context.Context, _ string, data []byte) (*service.EncryptResponse, error) {
	all, last, err := p.keys()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, all[last].NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return &service.EncryptResponse{
		Ciphertext:  all[last].Seal(nil, nonce, data, nil),
		KeyID:       last,
		Annotations: map[string][]byte{nonceAnnotation: nonce},
	}, nil
}

func (p plugin) Decrypt(_ context.Context, _ string, req *service.DecryptRequest) ([]byte, error) {
	all, _, err := p.keys()
	if err != nil {
		return nil, err
	}
	sealing, ok := all[req.KeyID]
	if !ok {
		return nil, fmt.Errorf("there is no key %s", req.KeyID)
	}
	nonce := req.Annotations[nonceAnnotation]
	if len(nonce) != sealing.NonceSize() {
		return nil, errors.New("the annotation with the nonce is missing")
	}
	return sealing.Open(nil, nonce, req.Ciphertext, nil)
}

func main() {
	listen := flag.String("listen", "", "path of the socket")
	keys := flag.String("keys", "", "file of keys, one a line")
	flag.Parse()
	server := service.NewGRPCService(*listen, 5*time.Second, plugin{file: *keys})
	if err := server.ListenAndServe(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
