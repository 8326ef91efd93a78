;; A metrics filter in the raw ABI: it counts exchanges by the first digit of
;; their status, and keeps a gauge of those that are open. No SDK, no WASI.
(module
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))
  (import "env" "proxy_get_header_map_value"
    (func $value (param i32 i32 i32 i32 i32) (result i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "responses.class=_xx")
  (data (i32.const 32) "open")
  (data (i32.const 48) "status_length")
  (data (i32.const 64) ":status")

  ;; Metric ids: five counters from 128, the gauge at 160, the histogram at 164.
  ;; What the host writes goes to 192 (pointer) and 196 (size).
  (global $free (mut i32) (i32.const 1024))
  (global $arena (mut i32) (i32.const 1024))

  (func (export "proxy_abi_version_0_2_1"))

  ;; Memory lives for one callback.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))

  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (local $class i32)
    (local.set $class (i32.const 1))
    (loop $next
      (i32.store8 (i32.const 16) (i32.add (i32.const 48) (local.get $class)))
      (if (call $define (i32.const 0) (i32.const 0) (i32.const 19)
            (i32.add (i32.const 124) (i32.mul (local.get $class) (i32.const 4))))
        (then (return (i32.const 0))))
      (local.set $class (i32.add (local.get $class) (i32.const 1)))
      (br_if $next (i32.le_u (local.get $class) (i32.const 5))))
    (if (call $define (i32.const 1) (i32.const 32) (i32.const 4) (i32.const 160))
      (then (return (i32.const 0))))
    (if (call $define (i32.const 2) (i32.const 48) (i32.const 13) (i32.const 164))
      (then (return (i32.const 0))))
    (i32.const 1))

  (func (export "proxy_on_context_create") (param $id i32) (param $root i32)
    (if (local.get $root)
      (then (drop (call $increment (i32.load (i32.const 160)) (i64.const 1))))))

  (func (export "proxy_on_log") (param i32)
    (local $class i32)
    (global.set $free (global.get $arena))
    (if (call $value (i32.const 2) (i32.const 64) (i32.const 7) (i32.const 192) (i32.const 196))
      (then (return)))
    (local.set $class
      (i32.sub (i32.load8_u (i32.load (i32.const 192))) (i32.const 48)))
    (drop (call $increment
      (i32.load (i32.add (i32.const 124) (i32.mul (local.get $class) (i32.const 4))))
      (i64.const 1)))
    (drop (call $record
      (i32.load (i32.const 164)) (i64.extend_i32_u (i32.load (i32.const 196))))))

  (func (export "proxy_on_delete") (param i32)
    (drop (call $increment (i32.load (i32.const 160)) (i64.const -1)))))
