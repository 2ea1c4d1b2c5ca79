//! Methods of Tetragon's service that clients in the middle, and fakes, do not serve.

/// In an `impl FineGuidanceSensors`: every method but GetEvents, GetHealth and GetVersion, each of which answers `$answer`,
/// an expression of type `Result<tonic::Response<_>, tonic::Status>`.
#[macro_export]
macro_rules! unserved_tetragon_methods {
    ($answer:expr) => {
        $crate::unserved_tetragon_methods! { $answer;
            add_tracing_policy: AddTracingPolicyRequest -> AddTracingPolicyResponse,
            delete_tracing_policy: DeleteTracingPolicyRequest -> DeleteTracingPolicyResponse,
            list_tracing_policies: ListTracingPoliciesRequest -> ListTracingPoliciesResponse,
            configure_tracing_policy: ConfigureTracingPolicyRequest -> ConfigureTracingPolicyResponse,
            enable_tracing_policy: EnableTracingPolicyRequest -> EnableTracingPolicyResponse,
            disable_tracing_policy: DisableTracingPolicyRequest -> DisableTracingPolicyResponse,
            list_sensors: ListSensorsRequest -> ListSensorsResponse,
            enable_sensor: EnableSensorRequest -> EnableSensorResponse,
            disable_sensor: DisableSensorRequest -> DisableSensorResponse,
            remove_sensor: RemoveSensorRequest -> RemoveSensorResponse,
            list_domains: ListDomainsRequest -> ListDomainsResponse,
            get_info: GetInfoRequest -> GetInfoResponse,
            runtime_hook: RuntimeHookRequest -> RuntimeHookResponse,
            get_debug: GetDebugRequest -> GetDebugResponse,
            set_debug: SetDebugRequest -> SetDebugResponse,
        }
    };
    ($answer:expr; $($method:ident: $request:ident -> $response:ident,)+) => {
        // What `async_trait` makes of an async method, which it does not see inside a macro.
        $(fn $method<'a, 'b>(
            &'a self,
            _: ::tonic::Request<$crate::tetragon::$request>,
        ) -> ::std::pin::Pin<
            Box<
                dyn Future<Output = Result<::tonic::Response<$crate::tetragon::$response>, ::tonic::Status>>
                    + Send
                    + 'b,
            >,
        >
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { $answer })
        })+
    };
}
