package kinds

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"time"
)

// Anchors is a certificate in PEM.
var Anchors string

// A certificate request, a certificate and a bundle of trust anchors in JSON, and the request's DER; the
// same in every run.
var certificateRequest, certificate, anchors, stubRequest = func() (string, string, string, string) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	subject := pkix.Name{CommonName: "system:node:n", Organization: []string{"system:nodes"}}
	request, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		panic(err)
	}
	ca := &x509.Certificate{Subject: subject, SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(1700000000, 0), NotAfter: time.Unix(1700003600, 0)}
	cert, err := x509.CreateCertificate(nil, ca, ca, key.Public(), key)
	if err != nil {
		panic(err)
	}
	text := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	Anchors = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	bundle, err := json.Marshal(Anchors)
	if err != nil {
		panic(err)
	}
	return text("CERTIFICATE REQUEST", request), text("CERTIFICATE", cert), string(bundle), base64.StdEncoding.EncodeToString(request)
}()

const rule = `{"apiGroups":["apps"],"apiVersions":["v1"],"resources":["deployments","deployments/status"],"operations":["CREATE","UPDATE"],"scope":"Namespaced"}`

const match = `"namespaceSelector":{"matchLabels":{"a":"b"}},"objectSelector":{"matchExpressions":[{"key":"a","operator":"Exists"}]}`

const webhook = `{"name":"a.example.com","admissionReviewVersions":["v1"],"sideEffects":"None","timeoutSeconds":5,"failurePolicy":"Fail","matchPolicy":"Equivalent",` + match + `,"rules":[` + rule + `],"matchConditions":[{"name":"x","expression":"object.metadata.name == 'a'"}],"clientConfig":{"service":{"namespace":"ns","name":"svc","path":"/x","port":443}}}`

const constraints = `"matchConstraints":{"matchPolicy":"Exact",` + match + `,"resourceRules":[` + rule + `],"excludeResourceRules":[{"resourceNames":["x"],"apiGroups":["apps"],"apiVersions":["v1"],"resources":["replicasets"],"operations":["DELETE"]}]}`

const deviceRequests = `"requests":[{"name":"gpu","exactly":{"deviceClassName":"gpu.example.com","allocationMode":"ExactCount","count":1,"selectors":[{"cel":{"expression":"device.driver == 'gpu.example.com'"}}],"tolerations":[{"key":"k","operator":"Exists","effect":"NoSchedule"}]}},{"name":"any","firstAvailable":[{"name":"big","deviceClassName":"a.example.com"},{"name":"small","deviceClassName":"b.example.com","allocationMode":"All"}]}],"constraints":[{"requests":["gpu"],"matchAttribute":"example.com/numa"}],"config":[{"requests":["gpu"],"opaque":{"driver":"gpu.example.com","parameters":{"a":1}}}]`

const hpaV1 = `{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler",` + objectMeta + `,"spec":{"minReplicas":1,"maxReplicas":5,"targetCPUUtilizationPercentage":70,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d"}}}`

// Schema of a definition with something of everything.
const definitionSchema = `{"type":"object","properties":{"spec":{"type":"object","required":["a"],"properties":{"a":{"type":"string","maxLength":10,"pattern":"^a*$","default":"a"},"b":{"type":"array","maxItems":5,"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"},"v":{"type":"integer","minimum":0,"nullable":true}}}},"c":{"x-kubernetes-int-or-string":true},"d":{"type":"object","x-kubernetes-preserve-unknown-fields":true},"e":{"type":"object","additionalProperties":{"type":"string","enum":["x","y"]}},"f":{"type":"string","format":"date-time"}}},"status":{"type":"object","properties":{"replicas":{"type":"integer"},"selector":{"type":"string"}}}}}`

func init() {
	Seeds = append(Seeds,
		hpaV1,
		`{"apiVersion":"v1","kind":"Node",`+clusterMeta+`,"spec":{"podCIDR":"10.0.0.0/24","podCIDRs":["10.0.0.0/24"],"providerID":"x://1","unschedulable":true,"taints":[{"key":"k","value":"v","effect":"NoSchedule"}]},"status":{"capacity":{"cpu":"4","memory":"8Gi","pods":"110"},"conditions":[{"type":"Ready","status":"True"}],"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}`,
		`{"apiVersion":"v1","kind":"Endpoints",`+objectMeta+`,"subsets":[{"addresses":[{"ip":"10.1.2.3","hostname":"h","nodeName":"n","targetRef":{"kind":"Pod","name":"p","namespace":"ns"}}],"notReadyAddresses":[{"ip":"fd00::1"}],"ports":[{"name":"http","port":80,"protocol":"TCP","appProtocol":"http"},{"name":"m","port":81}]}]}`,
		`{"apiVersion":"v1","kind":"Event",`+objectMeta+`,"involvedObject":{"kind":"Pod","namespace":"ns","name":"p","apiVersion":"v1"},"reason":"Started","message":"m","type":"Normal","count":1,"firstTimestamp":"2024-01-01T00:00:00Z","lastTimestamp":"2024-01-01T00:00:00Z","source":{"component":"c","host":"h"}}`,
		`{"apiVersion":"events.k8s.io/v1","kind":"Event",`+objectMeta+`,"regarding":{"kind":"Pod","namespace":"ns","name":"p","apiVersion":"v1"},"reason":"Started","note":"m","type":"Normal","eventTime":"2024-01-01T00:00:00.000000Z","action":"Act","reportingController":"example.com/c","reportingInstance":"c-1","series":{"count":2,"lastObservedTime":"2024-01-01T00:00:00.000000Z"}}`,
		`{"apiVersion":"v1","kind":"PodTemplate",`+objectMeta+`,"template":`+template+`}`,
		`{"apiVersion":"v1","kind":"ReplicationController",`+objectMeta+`,"spec":{"replicas":2,"minReadySeconds":1,"selector":{"app":"a"},"template":`+template+`}}`,
		`{"apiVersion":"apps/v1","kind":"ControllerRevision",`+objectMeta+`,"revision":3,"data":{"a":1}}`,
		`{"apiVersion":"networking.k8s.io/v1","kind":"IPAddress","metadata":{"name":"10.0.0.1"},"spec":{"parentRef":{"group":"","resource":"services","namespace":"ns","name":"svc"}}}`,
		`{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR",`+clusterMeta+`,"spec":{"cidrs":["10.0.0.0/16","fd00::/112"]}}`,
		`{"apiVersion":"storage.k8s.io/v1","kind":"CSIDriver","metadata":{"name":"d.example.com"},"spec":{"attachRequired":true,"podInfoOnMount":true,"storageCapacity":true,"fsGroupPolicy":"File","requiresRepublish":true,"seLinuxMount":false,"volumeLifecycleModes":["Persistent","Ephemeral"],"tokenRequests":[{"audience":"a","expirationSeconds":600}],"nodeAllocatableUpdatePeriodSeconds":60}}`,
		`{"apiVersion":"storage.k8s.io/v1","kind":"CSINode",`+clusterMeta+`,"spec":{"drivers":[{"name":"d.example.com","nodeID":"n1","topologyKeys":["zone"],"allocatable":{"count":5}}]}}`,
		`{"apiVersion":"storage.k8s.io/v1","kind":"CSIStorageCapacity",`+objectMeta+`,"storageClassName":"fast","capacity":"1Gi","maximumVolumeSize":"1Gi","nodeTopology":{"matchLabels":{"a":"b"}}}`,
		`{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttachment",`+clusterMeta+`,"spec":{"attacher":"d.example.com","nodeName":"n","source":{"persistentVolumeName":"pv"}}}`,
		`{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttributesClass",`+clusterMeta+`,"driverName":"d.example.com","parameters":{"a":"b"}}`,
		`{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest",`+clusterMeta+`,"spec":{"request":"`+certificateRequest+`","signerName":"example.com/signer","usages":["digital signature","client auth"],"expirationSeconds":3600,"username":"u","groups":["g"]},"status":{"conditions":[{"type":"Approved","status":"True","reason":"r","message":"m"}],"certificate":"`+certificate+`"}}`,
		`{"apiVersion":"certificates.k8s.io/v1beta1","kind":"ClusterTrustBundle","metadata":{"name":"example.com:signer:x","labels":{"app":"a"}},"spec":{"signerName":"example.com/signer","trustBundle":`+anchors+`}}`,
		`{"apiVersion":"certificates.k8s.io/v1beta1","kind":"ClusterTrustBundle","metadata":{"name":"x-1"},"spec":{"trustBundle":`+anchors+`}}`,
		`{"apiVersion":"certificates.k8s.io/v1beta1","kind":"PodCertificateRequest",`+objectMeta+`,"spec":{"signerName":"example.com/signer","podName":"p","podUID":"u-2","serviceAccountName":"sa","serviceAccountUID":"u-3","nodeName":"n","nodeUID":"u-4","maxExpirationSeconds":86400,"stubPKCS10Request":"`+stubRequest+`","unverifiedUserAnnotations":{"example.com/a":"b"}}}`,
		`{"apiVersion":"resource.k8s.io/v1beta2","kind":"DeviceTaintRule",`+clusterMeta+`,"spec":{"deviceSelector":{"driver":"gpu.example.com","pool":"p","device":"gpu-0"},"taint":{"key":"example.com/broken","value":"yes","effect":"NoSchedule"}}}`,
		`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration",`+clusterMeta+`,"webhooks":[`+webhook+`,{"name":"b.example.com","admissionReviewVersions":["v1","v1beta1"],"sideEffects":"NoneOnDryRun","clientConfig":{"url":"https://example.com/x"},"rules":[{"apiGroups":["*"],"apiVersions":["*"],"resources":["*/*"],"operations":["*"]}]}]}`,
		`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingWebhookConfiguration",`+clusterMeta+`,"webhooks":[`+webhook+`,{"name":"b.example.com","reinvocationPolicy":"IfNeeded","admissionReviewVersions":["v1"],"sideEffects":"None","clientConfig":{"url":"https://example.com/x"}}]}`,
		`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy",`+clusterMeta+`,"spec":{"failurePolicy":"Fail","paramKind":{"apiVersion":"v1","kind":"ConfigMap"},`+constraints+`,"matchConditions":[{"name":"x","expression":"object.metadata.name == 'a'"}],"variables":[{"name":"v","expression":"object.spec.replicas"}],"validations":[{"expression":"variables.v < 5","message":"too many","reason":"Invalid"},{"expression":"params.data.max != ''","messageExpression":"'no ' + object.metadata.name"}],"auditAnnotations":[{"key":"k","valueExpression":"'x'"}]}}`,
		`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicyBinding",`+clusterMeta+`,"spec":{"policyName":"p","paramRef":{"name":"c","namespace":"ns","parameterNotFoundAction":"Deny"},"matchResources":{`+match+`},"validationActions":["Deny","Audit"]}}`,
		`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingAdmissionPolicy",`+clusterMeta+`,"spec":{"failurePolicy":"Fail","reinvocationPolicy":"Never",`+constraints+`,"matchConditions":[{"name":"x","expression":"object.metadata.name == 'a'"}],"variables":[{"name":"v","expression":"object.spec.replicas"}],"mutations":[{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"Object{spec: Object.spec{replicas: variables.v + 1}}"}},{"patchType":"JSONPatch","jsonPatch":{"expression":"[JSONPatch{op: 'add', path: '/metadata/labels', value: {}}]"}}]}}`,
		`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingAdmissionPolicyBinding",`+clusterMeta+`,"spec":{"policyName":"p","paramRef":{"selector":{"matchLabels":{"a":"b"}},"parameterNotFoundAction":"Allow"},"matchResources":{`+match+`}}}`,
		`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"things.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"things","singular":"thing","kind":"Thing","listKind":"ThingList","shortNames":["th"],"categories":["all"]},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":`+definitionSchema+`},"subresources":{"status":{},"scale":{"specReplicasPath":".spec.replicas","statusReplicasPath":".status.replicas","labelSelectorPath":".status.selector"}},"additionalPrinterColumns":[{"name":"A","type":"string","jsonPath":".spec.a","priority":1}],"selectableFields":[{"jsonPath":".spec.a"}]},{"name":"v1beta1","served":true,"storage":false,"deprecated":true,"deprecationWarning":"old","schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}],"conversion":{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],"clientConfig":{"service":{"namespace":"ns","name":"svc","path":"/c","port":443}}}}}}`,
		`{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1.example.com"},"spec":{"group":"example.com","version":"v1","groupPriorityMinimum":100,"versionPriority":10,"service":{"namespace":"ns","name":"svc","port":443},"insecureSkipTLSVerify":true}}`,
		`{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema",`+clusterMeta+`,"spec":{"priorityLevelConfiguration":{"name":"p"},"matchingPrecedence":100,"distinguisherMethod":{"type":"ByUser"},"rules":[{"subjects":[{"kind":"User","user":{"name":"u"}},{"kind":"Group","group":{"name":"g"}},{"kind":"ServiceAccount","serviceAccount":{"namespace":"ns","name":"sa"}}],"resourceRules":[{"verbs":["get"],"apiGroups":["apps"],"resources":["deployments"],"namespaces":["ns"],"clusterScope":true}],"nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["/healthz","/x/*"]}]}]}}`,
		`{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration",`+clusterMeta+`,"spec":{"type":"Limited","limited":{"nominalConcurrencyShares":10,"lendablePercent":50,"borrowingLimitPercent":20,"limitResponse":{"type":"Queue","queuing":{"queues":16,"handSize":4,"queueLengthLimit":10}}}}}`,
		`{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","metadata":{"name":"exempt"},"spec":{"type":"Exempt","exempt":{"nominalConcurrencyShares":10,"lendablePercent":50}}}`,
		`{"apiVersion":"resource.k8s.io/v1","kind":"DeviceClass",`+clusterMeta+`,"spec":{"selectors":[{"cel":{"expression":"device.driver == 'gpu.example.com'"}}],"config":[{"opaque":{"driver":"gpu.example.com","parameters":{"a":1}}}],"extendedResourceName":"example.com/gpu"}}`,
		`{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim",`+objectMeta+`,"spec":{"devices":{`+deviceRequests+`}}}`,
		`{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaimTemplate",`+objectMeta+`,"spec":{"metadata":{"labels":{"a":"b"}},"spec":{"devices":{`+deviceRequests+`}}}}`,
		`{"apiVersion":"resource.k8s.io/v1","kind":"ResourceSlice",`+clusterMeta+`,"spec":{"driver":"gpu.example.com","nodeName":"n","pool":{"name":"n","generation":1,"resourceSliceCount":1},"devices":[{"name":"gpu-0","attributes":{"model":{"string":"x"},"index":{"int":1},"numa":{"bool":true},"v":{"version":"1.0.0"}},"capacity":{"memory":{"value":"1Gi"}}},{"name":"gpu-1"}]}}`,
	)
}
