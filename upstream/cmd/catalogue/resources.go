package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

type discovered struct {
	Items []struct {
		Metadata struct{ Name string }
		Versions []struct {
			Version   string
			Resources []struct {
				Resource, Scope, SingularResource string
				ResponseKind                      kind
				Verbs, ShortNames, Categories     []string
				Subresources                      []struct {
					Subresource  string
					ResponseKind kind
					Verbs        []string
				}
			}
		}
	}
}

type kind struct{ Group, Version, Kind string }

// What other minor versions served that the recorded server does not: a version of a group with
// the resources of another version.
var older = []struct{ group, like, version, minors string }{
	{"flowcontrol.apiserver.k8s.io", "v1", "v1beta3", "28-31"},
	{"flowcontrol.apiserver.k8s.io", "v1", "v1beta2", "28-28"},
}

// What later minor versions serve that the recorded server does not, by group and version; the
// columns are those of the beta versions of the same kinds, recorded with every API switched on.
var newer = []struct{ group, version, lines string }{
	{"certificates.k8s.io", "v1", `r clustertrustbundles ClusterTrustBundle clustertrustbundle cluster create,delete,deletecollection,get,list,patch,update,watch
c 0 string name Name
c 0 string - SignerName
r podcertificaterequests PodCertificateRequest podcertificaterequest namespaced create,delete,deletecollection,get,list,patch,update,watch
s status certificates.k8s.io v1 PodCertificateRequest get,patch,update
c 0 string name Name
c 0 string - PodName
c 0 string - ServiceAccountName
c 0 string - NodeName
c 0 string - SignerName
c 0 string - State
c 0 string - UnverifiedUserAnnotations
`},
	{"resource.k8s.io", "v1", `r devicetaintrules DeviceTaintRule devicetaintrule cluster create,delete,deletecollection,get,list,patch,update,watch
s status resource.k8s.io v1 DeviceTaintRule get,patch,update
c 0 string name Name
c 0 string - Key
c 0 string - Value
c 0 string - Effect
c 0 string - TimeAdded
c 0 string - Age
`},
	{"storagemigration.k8s.io", "v1", `r storageversionmigrations StorageVersionMigration storageversionmigration cluster create,delete,deletecollection,get,list,patch,update,watch
s status storagemigration.k8s.io v1 StorageVersionMigration get,patch,update
c 0 string - Name
c 0 string - Resource
c 0 string - Status
`},
}

// Subresources that came later than their resource. Whole resources need no mention: they are
// served where their type exists.
var since = map[string]string{"pods/resize": "33-37"}

// Columns that not every minor version has at this place (pkg/printers/internalversion/printers.go of
// each version): by plural and name what stands for the recorded line.
var columnsOf = map[string]string{
	"cronjobs/Timezone": "c 0 string - Timezone @30-37",
	"jobs/Status":       "c 0 string - Status @30-37",
	"persistentvolumeclaims/VolumeAttributesClass": "c 0 string - VolumeAttributesClass @29-37",
	"persistentvolumes/VolumeAttributesClass":      "c 0 string - VolumeAttributesClass @29-37",
	"priorityclasses/PreemptionPolicy":             "c 0 string - PreemptionPolicy @32-37",
	"resourcequotas/Age":                           "c 0 string - Age @33-37",
	"resourcequotas/Request":                       "c 0 string - Age @28-32\nc 0 string - Request",
	"serviceaccounts/Age":                          "c 0 string - Secrets @28-34\nc 0 string - Age",
}

// Lines: `g GROUP`, `v VERSION` (preferred first), `r PLURAL KIND SINGULAR ns|cluster VERBS
// [short=…] [cat=…]`, `s NAME GROUP VERSION KIND VERBS`, `c PRIORITY TYPE FORMAT NAME`.
func dumpResources(out io.Writer, url, token string) error {
	recorded := map[string]bool{}
	for _, root := range []string{"/api", "/apis"} {
		var d discovered
		err := get(url+root, token, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", &d)
		if err != nil {
			return err
		}
		for _, g := range d.Items {
			fmt.Fprintln(out, "g", dash(g.Metadata.Name))
			for _, v := range g.Versions {
				var lines bytes.Buffer
				out := io.MultiWriter(out, &lines)
				fmt.Fprintln(out, "v", v.Version)
				for _, r := range v.Resources {
					line := fmt.Sprintf("r %s %s %s %s %s", r.Resource, r.ResponseKind.Kind, dash(r.SingularResource),
						strings.ToLower(r.Scope), strings.Join(r.Verbs, ","))
					if len(r.ShortNames) > 0 {
						line += " short=" + strings.Join(r.ShortNames, ",")
					}
					if len(r.Categories) > 0 {
						line += " cat=" + strings.Join(r.Categories, ",")
					}
					fmt.Fprintln(out, line)
					for _, s := range r.Subresources {
						k := s.ResponseKind
						if k.Version == "" {
							k.Group, k.Version = g.Metadata.Name, v.Version
						}
						line := fmt.Sprintln("s", s.Subresource, dash(k.Group), k.Version, k.Kind, strings.Join(s.Verbs, ","))
						if minors := since[r.Resource+"/"+s.Subresource]; minors != "" {
							line = strings.TrimSuffix(line, "\n") + " @" + minors + "\n"
						}
						fmt.Fprint(out, line)
					}
					path := root + "/" + v.Version
					if root == "/apis" {
						path = root + "/" + g.Metadata.Name + "/" + v.Version
					}
					if strings.Contains(","+strings.Join(r.Verbs, ",")+",", ",list,") {
						if err := columns(out, r.Resource, url+path+"/"+r.Resource, token); err != nil {
							return err
						}
					}
				}
				for _, n := range newer {
					if n.group == g.Metadata.Name && n.version == v.Version {
						fmt.Fprint(out, n.lines)
						recorded[n.group] = true
					}
				}
				replay(out, g.Metadata.Name, v.Version, lines.String())
			}
		}
	}
	for _, n := range newer {
		if !recorded[n.group] {
			fmt.Fprintf(out, "g %s\nv %s\n%s", n.group, n.version, n.lines)
		}
	}
	return nil
}

func replay(out io.Writer, group, version, lines string) {
	for _, o := range older {
		if o.group != group || o.like != version {
			continue
		}
		fmt.Fprintf(out, "v %s @%s\n", o.version, o.minors)
		_, rest, _ := strings.Cut(lines, "\n")
		fmt.Fprint(out, strings.ReplaceAll(rest, " "+group+" "+version+" ", " "+group+" "+o.version+" "))
	}
}

func columns(out io.Writer, resource, url, token string) error {
	var t struct {
		ColumnDefinitions []struct {
			Name, Type, Format string
			Priority           int
		}
	}
	if err := get(url, token, "application/json;as=Table;v=v1;g=meta.k8s.io", &t); err != nil {
		return err
	}
	for _, c := range t.ColumnDefinitions {
		if lines := columnsOf[resource+"/"+c.Name]; lines != "" {
			fmt.Fprintln(out, lines)
			continue
		}
		fmt.Fprintln(out, "c", c.Priority, c.Type, dash(c.Format), c.Name)
	}
	return nil
}

func get(url, token, accept string, into any) error {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		// The server is the recorder's own, on loopback, with a certificate made for the occasion.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(into)
}
