// Holds objects against the API server's own validation, by the packages that it is made of: what schemas do not say.
// Reads YAML from the standard input; prints one line a fault and ends with 1 if there is one, with 2 if it cannot read.
// Objects of kinds that are not Kubernetes' own are counted and left out.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/kubernetes/pkg/capabilities"
)

func main() {
	// As every cluster that runs a CNI does; pod security is decided elsewhere.
	capabilities.Initialize(capabilities.Capabilities{AllowPrivileged: true})
	decoder := yaml.NewYAMLOrJSONDecoder(os.Stdin, 1<<20)
	known, foreign, faults := 0, 0, 0
	for {
		var raw runtime.RawExtension
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		object, kind, err := legacyscheme.Codecs.UniversalDecoder().Decode(raw.Raw, nil, nil)
		if runtime.IsNotRegisteredError(err) {
			foreign++
			continue
		}
		if err != nil {
			fmt.Printf("%v: %v\n", kind, err)
			os.Exit(2)
		}
		known++
		for _, fault := range validate(object) {
			faults++
			fmt.Printf("%s: %v\n", kind.Kind, fault)
		}
	}
	fmt.Printf("%d objects, %d foreign, %d faults\n", known, foreign, faults)
	if faults > 0 {
		os.Exit(1)
	}
}

// Objects are internal ones with their defaults filled in, as the API server sees them before it stores them.
func validate(object runtime.Object) field.ErrorList {
	switch o := object.(type) {
	case *apps.StatefulSet:
		return appsvalidation.ValidateStatefulSet(o, corevalidation.PodValidationOptions{})
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(o, corevalidation.PodValidationOptions{})
	case *autoscaling.HorizontalPodAutoscaler:
		return autoscalingvalidation.ValidateHorizontalPodAutoscaler(o, autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{})
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o)
	case *core.Namespace:
		return corevalidation.ValidateNamespace(o)
	case *core.Service:
		// The API server does so before it validates.
		if o.Spec.ClusterIP != "" && len(o.Spec.ClusterIPs) == 0 {
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
		}
		return corevalidation.ValidateServiceCreate(o)
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o)
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{})
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{})
	default:
		return field.ErrorList{field.InternalError(nil, fmt.Errorf("no validation of %T here", o))}
	}
}
