// Package kinds knows the built-in kinds: their strategies, and a good object of each.
package kinds

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition"
	"k8s.io/kube-aggregator/pkg/registry/apiservice"

	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicy"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/certificates/certificates"
	"k8s.io/kubernetes/pkg/registry/certificates/clustertrustbundle"
	"k8s.io/kubernetes/pkg/registry/certificates/podcertificaterequest"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/endpoint"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/limitrange"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/replicationcontroller"
	"k8s.io/kubernetes/pkg/registry/core/resourcequota"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/discovery/endpointslice"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/flowschema"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/prioritylevelconfiguration"
	"k8s.io/kubernetes/pkg/registry/networking/ingress"
	"k8s.io/kubernetes/pkg/registry/networking/ingressclass"
	"k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"
	"k8s.io/kubernetes/pkg/registry/node/runtimeclass"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	"k8s.io/kubernetes/pkg/registry/resource/deviceclass"
	"k8s.io/kubernetes/pkg/registry/resource/devicetaintrule"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaim"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaimtemplate"
	"k8s.io/kubernetes/pkg/registry/resource/resourceslice"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattributesclass"

	"k8s.io/utils/clock/testing"

	_ "freehold.dev/upstream/internal/install"
)

func init() {
	definitions := customresourcedefinition.NewStrategy(legacyscheme.Scheme)
	Strategies["CustomResourceDefinition"] = Strategy{definitions, customresourcedefinition.NewStatusStrategy(legacyscheme.Scheme)}
	Strategies["APIService"] = Strategy{apiservice.NewStrategy(legacyscheme.Scheme), apiservice.NewStatusStrategy(legacyscheme.Scheme)}
	policies := validatingadmissionpolicy.NewStrategy(nil, nil)
	Strategies["ValidatingAdmissionPolicy"] = Strategy{policies, validatingadmissionpolicy.NewStatusStrategy(policies)}
	Strategies["ValidatingAdmissionPolicyBinding"] = Strategy{validatingadmissionpolicybinding.NewStrategy(nil, nil, none{}), nil}
	Strategies["MutatingAdmissionPolicy"] = Strategy{mutatingadmissionpolicy.NewStrategy(nil, nil), nil}
	Strategies["MutatingAdmissionPolicyBinding"] = Strategy{mutatingadmissionpolicybinding.NewStrategy(nil, nil, none{}), nil}
	requests := podcertificaterequest.NewStrategy()
	issued := testing.NewFakePassiveClock(time.Unix(1700000000, 0))
	everything := authorizerfactory.NewAlwaysAllowAuthorizer()
	Strategies["PodCertificateRequest"] = Strategy{requests, podcertificaterequest.NewStatusStrategy(requests, everything, issued)}
	claims := resourceclaim.NewStrategy(nil, nil)
	Strategies["ResourceClaim"] = Strategy{claims, resourceclaim.NewStatusStrategy(claims)}
	Strategies["ResourceClaimTemplate"] = Strategy{resourceclaimtemplate.NewStrategy(nil), nil}
}

// Finds no resource: nobody is authorized here.
type none struct{}

func (none) Resolve(gvk schema.GroupVersionKind) (schema.GroupVersionResource, error) {
	return schema.GroupVersionResource{}, fmt.Errorf("no %s", gvk)
}

// Main is what judges objects of a kind.
type Main interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

// Strategy judges a kind and its status.
type Strategy struct {
	Main   Main
	Status rest.RESTUpdateStrategy
}

// Strategies by kind: the two kinds that are named Event have one.
var Strategies = map[string]Strategy{
	"Pod": {pod.Strategy, pod.StatusStrategy}, "Service": {service.Strategy, service.StatusStrategy},
	"ConfigMap": {configmap.Strategy, nil}, "Secret": {secret.Strategy, nil}, "Event": {event.Strategy, nil},
	"Namespace": {namespace.Strategy, namespace.StatusStrategy}, "ServiceAccount": {serviceaccount.Strategy, nil},
	"ResourceQuota": {resourcequota.Strategy, resourcequota.StatusStrategy}, "LimitRange": {limitrange.Strategy, nil},
	"PersistentVolumeClaim": {persistentvolumeclaim.Strategy, persistentvolumeclaim.StatusStrategy},
	"PersistentVolume":      {persistentvolume.Strategy, persistentvolume.StatusStrategy},
	"Endpoints":             {endpoint.Strategy, nil}, "Node": {node.Strategy, node.StatusStrategy}, "PodTemplate": {podtemplate.Strategy, nil},
	"ReplicationController": {replicationcontroller.Strategy, replicationcontroller.StatusStrategy},
	"Deployment":            {deployment.Strategy, deployment.StatusStrategy}, "ReplicaSet": {replicaset.Strategy, replicaset.StatusStrategy},
	"StatefulSet": {statefulset.Strategy, statefulset.StatusStrategy}, "DaemonSet": {daemonset.Strategy, daemonset.StatusStrategy},
	"ControllerRevision": {controllerrevision.Strategy, nil},
	"Job":                {job.Strategy, job.StatusStrategy}, "CronJob": {cronjob.Strategy, cronjob.StatusStrategy},
	"Role": {role.Strategy, nil}, "ClusterRole": {clusterrole.Strategy, nil}, "RoleBinding": {rolebinding.Strategy, nil},
	"ClusterRoleBinding": {clusterrolebinding.Strategy, nil}, "Ingress": {ingress.Strategy, ingress.StatusStrategy},
	"IngressClass": {ingressclass.Strategy, nil}, "NetworkPolicy": {networkpolicy.Strategy, nil},
	"IPAddress": {ipaddress.Strategy, nil}, "ServiceCIDR": {servicecidr.Strategy, servicecidr.StatusStrategy},
	"PodDisruptionBudget":     {poddisruptionbudget.Strategy, poddisruptionbudget.StatusStrategy},
	"HorizontalPodAutoscaler": {horizontalpodautoscaler.Strategy, horizontalpodautoscaler.StatusStrategy},
	"PriorityClass":           {priorityclass.Strategy, nil}, "StorageClass": {storageclass.Strategy, nil},
	"CSIDriver": {csidriver.Strategy, nil}, "CSINode": {csinode.Strategy, nil}, "CSIStorageCapacity": {csistoragecapacity.Strategy, nil},
	"VolumeAttachment":      {volumeattachment.Strategy, volumeattachment.StatusStrategy},
	"VolumeAttributesClass": {volumeattributesclass.Strategy, nil},
	"Lease":                 {lease.Strategy, nil}, "EndpointSlice": {endpointslice.Strategy, nil}, "RuntimeClass": {runtimeclass.Strategy, nil},
	"CertificateSigningRequest":      {certificates.Strategy, certificates.StatusStrategy},
	"ValidatingWebhookConfiguration": {validatingwebhookconfiguration.Strategy, nil},
	"MutatingWebhookConfiguration":   {mutatingwebhookconfiguration.Strategy, nil},
	"FlowSchema":                     {flowschema.Strategy, flowschema.StatusStrategy},
	"PriorityLevelConfiguration":     {prioritylevelconfiguration.Strategy, prioritylevelconfiguration.StatusStrategy},
	"ClusterTrustBundle":             {clustertrustbundle.Strategy, nil},
	"DeviceTaintRule":                {devicetaintrule.Strategy, devicetaintrule.StatusStrategy},
	"DeviceClass":                    {deviceclass.Strategy, nil}, "ResourceSlice": {resourceslice.Strategy, nil},
}

// Of is the strategy of a kind.
func Of(gvk schema.GroupVersionKind) Strategy { return Strategies[gvk.Kind] }
