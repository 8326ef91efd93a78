;; A filter in the raw ABI that asks the cluster "auth" before a request may pass,
;; and counts what it asked: the example of the crate's documentation.
(module
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_http_call"
    (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value"
    (func $value (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $speak_for (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "auth")
  (data (i32.const 8) ":status")
  (data (i32.const 16) "asked")
  ;; The headers of the call: how many, the size of each name and value, and then
  ;; these, each with a zero behind it.
  (data (i32.const 32)
    "\03\00\00\00"
    "\07\00\00\00\03\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\04\00\00\00"
    ":method\00GET\00:path\00/check\00:authority\00auth\00")

  ;; The metric is at 128, the token at 132, what the host hands over at 136
  ;; (pointer) and 140 (size). At 256 + 4 * token is the stream that waits.
  (global $free i32 (i32.const 32768))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param $size i32) (result i32) (global.get $free))

  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (i32.eqz (call $define
      (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 128))))

  (func $deny
    (drop (call $reply (i32.const 403) (i32.const 0) (i32.const 4)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))))

  (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
    (if (call $http_call (i32.const 0) (i32.const 4)
          (i32.const 32) (i32.const 69) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 50) (i32.const 132))
      (then (call $deny))
      (else
        (drop (call $increment (i32.load (i32.const 128)) (i64.const 1)))
        (i32.store
          (i32.add (i32.const 256) (i32.mul (i32.const 4) (i32.load (i32.const 132))))
          (local.get $id))))
    (i32.const 1))

  (func (export "proxy_on_http_call_response")
    (param $id i32) (param $token i32) (param i32 i32 i32)
    (local $status i32)
    (local.set $status (call $value (i32.const 6)
      (i32.const 8) (i32.const 7) (i32.const 136) (i32.const 140)))
    (drop (call $speak_for (i32.load
      (i32.add (i32.const 256) (i32.mul (i32.const 4) (local.get $token))))))
    ;; The first byte of the status is a 2.
    (if (i32.and (i32.eqz (local.get $status))
          (i32.eq (i32.load8_u (global.get $free)) (i32.const 50)))
      (then (drop (call $continue (i32.const 0))))
      (else (call $deny)))))
