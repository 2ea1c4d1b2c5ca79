//! Methods of Tetragon's and Hubble's services that clients in the middle, and fakes, do not serve.

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

/// In an `impl Observer`: the streams of agent and debug events, and the methods that are named, e.g.
/// `unserved_observer_methods!(absent(), get_nodes, server_status)`. Each answers `$answer`, an expression of type
/// `Result<tonic::Response<_>, tonic::Status>`.
#[macro_export]
macro_rules! unserved_observer_methods {
    (@method $answer:expr, $method:ident, $request:ident, $response:ty) => {
        // What `async_trait` makes of an async method, which it does not see inside a macro.
        fn $method<'a, 'b>(
            &'a self,
            _: ::tonic::Request<$crate::observer::$request>,
        ) -> ::std::pin::Pin<
            Box<dyn Future<Output = Result<::tonic::Response<$response>, ::tonic::Status>> + Send + 'b>,
        >
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { $answer })
        }
    };
    (@named $answer:expr, get_nodes) => {
        $crate::unserved_observer_methods! {
            @method $answer, get_nodes, GetNodesRequest, $crate::observer::GetNodesResponse
        }
    };
    (@named $answer:expr, get_namespaces) => {
        $crate::unserved_observer_methods! {
            @method $answer, get_namespaces, GetNamespacesRequest, $crate::observer::GetNamespacesResponse
        }
    };
    (@named $answer:expr, server_status) => {
        $crate::unserved_observer_methods! {
            @method $answer, server_status, ServerStatusRequest, $crate::observer::ServerStatusResponse
        }
    };
    ($answer:expr $(, $method:ident)*) => {
        type GetAgentEventsStream = ::tonic::codegen::BoxStream<$crate::observer::GetAgentEventsResponse>;
        type GetDebugEventsStream = ::tonic::codegen::BoxStream<$crate::observer::GetDebugEventsResponse>;

        $crate::unserved_observer_methods! {
            @method $answer, get_agent_events, GetAgentEventsRequest, Self::GetAgentEventsStream
        }
        $crate::unserved_observer_methods! {
            @method $answer, get_debug_events, GetDebugEventsRequest, Self::GetDebugEventsStream
        }
        $($crate::unserved_observer_methods! { @named $answer, $method })*
    };
}
