;; A filter in the raw ABI that changes what passes: it holds the request body
;; back until it is whole and sends it on in capitals, and closes each response
;; body with a trailer that says how many pieces it had.
(module
  (import "env" "proxy_get_buffer_bytes"
    (func $bytes (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes"
    (func $set_bytes (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value"
    (func $remove (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value"
    (func $add (param i32 i32 i32 i32 i32) (result i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "content-length")
  (data (i32.const 16) "x-rewritten")
  (data (i32.const 32) "yes")
  (data (i32.const 48) "x-pieces")
  (data (i32.const 64) "[")

  ;; The host writes where a buffer is to 128 and 132. Memory lives for one
  ;; callback.
  (global $free (mut i32) (i32.const 1024))
  (global $pieces (mut i32) (i32.const 0))

  (func (export "proxy_abi_version_0_2_0"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))

  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $remove (i32.const 0) (i32.const 0) (i32.const 14)))
    (drop (call $add (i32.const 0)
      (i32.const 16) (i32.const 11) (i32.const 32) (i32.const 3)))
    (i32.const 0))

  (func (export "proxy_on_request_body")
    (param $id i32) (param $size i32) (param $end i32) (result i32)
    (local $at i32) (local $last i32) (local $byte i32)
    (if (i32.eqz (local.get $end)) (then (return (i32.const 1))))
    (global.set $free (i32.const 1024))
    (if (call $bytes (i32.const 0)
          (i32.const 0) (local.get $size) (i32.const 128) (i32.const 132))
      (then (return (i32.const 0))))
    (local.set $at (i32.load (i32.const 128)))
    (local.set $last (i32.add (local.get $at) (i32.load (i32.const 132))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $last)))
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.le_u (i32.sub (local.get $byte) (i32.const 97)) (i32.const 25))
        (then (i32.store8 (local.get $at) (i32.sub (local.get $byte) (i32.const 32)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
    (drop (call $set_bytes (i32.const 0) (i32.const 0) (local.get $size)
      (i32.load (i32.const 128)) (i32.load (i32.const 132))))
    (i32.const 0))

  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (global.set $pieces (i32.const 0))
    (i32.const 0))

  ;; Marks the beginning of each piece; with the last, begins trailers.
  (func (export "proxy_on_response_body")
    (param $id i32) (param $size i32) (param $end i32) (result i32)
    (global.set $pieces (i32.add (global.get $pieces) (i32.const 1)))
    (drop (call $set_bytes (i32.const 1)
      (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 1)))
    (if (local.get $end)
      (then
        (i32.store8 (i32.const 80) (i32.add (i32.const 48) (global.get $pieces)))
        (drop (call $add (i32.const 3)
          (i32.const 48) (i32.const 8) (i32.const 80) (i32.const 1)))))
    (i32.const 0)))
