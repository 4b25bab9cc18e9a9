;; Per-example gradients of a strided convolution, on the memory of TFJS' wasm backend.
;;
;; For every example: [P 1]' G, with P [positions, patch] its patches (im2col, in the order row, column, channel of the window) and G [positions, filters] the gradient at
;; its output. The column of ones makes the last row the gradient of the bias. Positions go in bands that stay in the first cache: scratch does not grow with the image.
;; Addresses and sizes in bytes are i32 (unsigned); all numbers are float32, except the sum of squares.
;;
;; Rebuild with `npm run build:kernel`; a test compares the committed bytes with this file.
(module
  (import "tfjs" "memory" (memory 1))

  ;; Of the convolution; set by `shape`, constant during a call.
  (global $height (mut i32) (i32.const 0))
  (global $width (mut i32) (i32.const 0))
  (global $channels (mut i32) (i32.const 0))
  ;; Vertically and horizontally.
  (global $kernel_rows (mut i32) (i32.const 0))
  (global $kernel_columns (mut i32) (i32.const 0))
  (global $stride_rows (mut i32) (i32.const 0))
  (global $stride_columns (mut i32) (i32.const 0))
  (global $top (mut i32) (i32.const 0))
  (global $left (mut i32) (i32.const 0))
  (global $positions (mut i32) (i32.const 0))
  (global $columns (mut i32) (i32.const 0))
  (global $filters (mut i32) (i32.const 0))
  ;; Bytes of a row of [P 1] and of G, both padded with zeros to whole vectors of four.
  (global $patch_bytes (mut i32) (i32.const 0))
  (global $filter_bytes (mut i32) (i32.const 0))
  ;; Positions in a band.
  (global $band (mut i32) (i32.const 0))
  ;; Scratch: a band of [P 1]; a band of padded G (unused where filters are a multiple of four); the padded product.
  (global $patches (mut i32) (i32.const 0))
  (global $padded (mut i32) (i32.const 0))
  (global $product (mut i32) (i32.const 0))

  (func (export "shape")
    (param $height i32) (param $width i32) (param $channels i32) (param $kernel_rows i32) (param $kernel_columns i32)
    (param $stride_rows i32) (param $stride_columns i32) (param $top i32) (param $left i32)
    (param $positions i32) (param $columns i32) (param $filters i32)
    (global.set $height (local.get $height))
    (global.set $width (local.get $width))
    (global.set $channels (local.get $channels))
    (global.set $kernel_rows (local.get $kernel_rows))
    (global.set $kernel_columns (local.get $kernel_columns))
    (global.set $stride_rows (local.get $stride_rows))
    (global.set $stride_columns (local.get $stride_columns))
    (global.set $top (local.get $top))
    (global.set $left (local.get $left))
    (global.set $positions (local.get $positions))
    (global.set $columns (local.get $columns))
    (global.set $filters (local.get $filters))
    (global.set $patch_bytes (call $whole (call $gradient_rows)))
    (global.set $filter_bytes (call $whole (local.get $filters))))

  (func (export "scratch") (param $band i32) (param $patches i32) (param $padded i32) (param $product i32)
    (global.set $band (local.get $band))
    (global.set $patches (local.get $patches))
    (global.set $padded (local.get $padded))
    (global.set $product (local.get $product)))

  ;; `gradients` [batch, patch + 1, filters] and `squared` [batch], the squared norms of the examples' gradients.
  (func (export "perExample") (param $batch i32) (param $x i32) (param $g i32) (param $gradients i32) (param $squared i32)
    (local $size i32)
    (local.set $size (call $gradient_bytes))
    (loop $examples
      (call $clear)
      (call $accumulate (local.get $x) (local.get $g))
      (call $compact (local.get $gradients))
      (f32.store (local.get $squared) (call $sum_of_squares))
      (local.set $x (i32.add (local.get $x) (call $image_bytes)))
      (local.set $g (i32.add (local.get $g) (call $output_bytes)))
      (local.set $gradients (i32.add (local.get $gradients) (local.get $size)))
      (local.set $squared (i32.add (local.get $squared) (i32.const 4)))
      (br_if $examples (local.tee $batch (i32.sub (local.get $batch) (i32.const 1))))))

  ;; `sum` [patch + 1, filters]: the examples' gradients added up, without their own.
  (func (export "sum") (param $batch i32) (param $x i32) (param $g i32) (param $sum i32)
    (call $clear)
    (loop $examples
      (call $accumulate (local.get $x) (local.get $g))
      (local.set $x (i32.add (local.get $x) (call $image_bytes)))
      (local.set $g (i32.add (local.get $g) (call $output_bytes)))
      (br_if $examples (local.tee $batch (i32.sub (local.get $batch) (i32.const 1)))))
    (call $compact (local.get $sum)))

  ;; `sum` [size] = sum_i factors[i] * values[i, :], in the order of the rows.
  (func (export "weightedSum") (param $rows i32) (param $size i32) (param $values i32) (param $factors i32) (param $sum i32)
    (local $factor f32)
    (local $to i32)
    (local $end i32)
    (local $vectors_end i32)
    (local.set $end (i32.add (local.get $sum) (i32.shl (local.get $size) (i32.const 2))))
    (local.set $vectors_end (i32.add (local.get $sum) (i32.shl (i32.and (local.get $size) (i32.const -4)) (i32.const 2))))
    (memory.fill (local.get $sum) (i32.const 0) (i32.shl (local.get $size) (i32.const 2)))
    (loop $each_row
      (local.set $factor (f32.load (local.get $factors)))
      (local.set $to (local.get $sum))
      (block $vectors_done
        (loop $vectors
          (br_if $vectors_done (i32.ge_u (local.get $to) (local.get $vectors_end)))
          (v128.store (local.get $to)
            (f32x4.add (v128.load (local.get $to)) (f32x4.mul (f32x4.splat (local.get $factor)) (v128.load (local.get $values)))))
          (local.set $to (i32.add (local.get $to) (i32.const 16)))
          (local.set $values (i32.add (local.get $values) (i32.const 16)))
          (br $vectors)))
      (block $rest_done
        (loop $rest
          (br_if $rest_done (i32.ge_u (local.get $to) (local.get $end)))
          (f32.store (local.get $to) (f32.add (f32.load (local.get $to)) (f32.mul (local.get $factor) (f32.load (local.get $values)))))
          (local.set $to (i32.add (local.get $to) (i32.const 4)))
          (local.set $values (i32.add (local.get $values) (i32.const 4)))
          (br $rest)))
      (local.set $factors (i32.add (local.get $factors) (i32.const 4)))
      (br_if $each_row (local.tee $rows (i32.sub (local.get $rows) (i32.const 1))))))

  ;; Bytes of `count` float32, rounded up to whole vectors.
  (func $whole (param $count i32) (result i32)
    (i32.and (i32.shl (i32.add (local.get $count) (i32.const 3)) (i32.const 2)) (i32.const -16)))

  (func $image_bytes (result i32)
    (i32.shl (i32.mul (i32.mul (global.get $height) (global.get $width)) (global.get $channels)) (i32.const 2)))

  (func $output_bytes (result i32)
    (i32.shl (i32.mul (global.get $positions) (global.get $filters)) (i32.const 2)))

  ;; Rows of the gradient: patch + 1.
  (func $gradient_rows (result i32)
    (i32.add (i32.mul (i32.mul (global.get $kernel_rows) (global.get $kernel_columns)) (global.get $channels)) (i32.const 1)))

  (func $gradient_bytes (result i32)
    (i32.shl (i32.mul (call $gradient_rows) (global.get $filters)) (i32.const 2)))

  ;; Of the padded product: as many rows as [P 1] has padded columns.
  (func $product_bytes (result i32)
    (i32.mul (i32.shr_u (global.get $patch_bytes) (i32.const 2)) (global.get $filter_bytes)))

  (func $clear
    (memory.fill (global.get $product) (i32.const 0) (call $product_bytes)))

  ;; product += [P 1]' G of one example.
  (func $accumulate (param $x i32) (param $g i32)
    (local $from i32)
    (local $count i32)
    (loop $bands
      (local.set $count (i32.sub (global.get $positions) (local.get $from)))
      (if (i32.gt_u (local.get $count) (global.get $band)) (then (local.set $count (global.get $band))))
      (call $gather (local.get $x) (local.get $from) (local.get $count))
      (if (i32.and (global.get $filters) (i32.const 3))
        (then
          (call $pad (local.get $g) (local.get $count))
          (call $multiply (global.get $padded) (local.get $count)))
        (else (call $multiply (local.get $g) (local.get $count))))
      (local.set $g (i32.add (local.get $g) (i32.shl (i32.mul (local.get $count) (global.get $filters)) (i32.const 2))))
      (br_if $bands (i32.lt_u (local.tee $from (i32.add (local.get $from) (local.get $count))) (global.get $positions)))))

  ;; The rows `from` .. `from + count` of [P 1]; zeros outside of the image.
  (func $gather (param $x i32) (param $from i32) (param $count i32)
    (local $out i32)
    (local $y i32) ;; of the window's first row; below zero above the image
    (local $column i32) ;; of the window's first column
    (local $low i32) ;; the window's columns low .. high lie inside the image
    (local $high i32)
    (local $rest i32) ;; rows of the window to go
    (local $source i32)
    (local $end i32)
    (local.set $out (global.get $patches))
    (loop $each_position
      (local.set $y (i32.sub (i32.mul (i32.div_u (local.get $from) (global.get $columns)) (global.get $stride_rows)) (global.get $top)))
      (local.set $column (i32.sub (i32.mul (i32.rem_u (local.get $from) (global.get $columns)) (global.get $stride_columns)) (global.get $left)))
      (local.set $low (select (i32.sub (i32.const 0) (local.get $column)) (i32.const 0) (i32.lt_s (local.get $column) (i32.const 0))))
      (local.set $high (i32.sub (global.get $width) (local.get $column)))
      (if (i32.gt_s (local.get $high) (global.get $kernel_columns)) (then (local.set $high (global.get $kernel_columns))))
      (local.set $rest (global.get $kernel_rows))
      (loop $window
        (if (i32.lt_u (local.get $y) (global.get $height))
          (then
            (if (local.get $low) (then (local.set $out (call $zeros (local.get $out) (i32.mul (local.get $low) (global.get $channels))))))
            (local.set $source
              (i32.add (local.get $x)
                (i32.shl
                  (i32.mul
                    (i32.add (i32.mul (local.get $y) (global.get $width)) (i32.add (local.get $column) (local.get $low)))
                    (global.get $channels))
                  (i32.const 2))))
            (local.set $end
              (i32.add (local.get $out) (i32.shl (i32.mul (i32.sub (local.get $high) (local.get $low)) (global.get $channels)) (i32.const 2))))
            (block $vectors_done
              (loop $vectors
                (br_if $vectors_done (i32.gt_u (i32.add (local.get $out) (i32.const 16)) (local.get $end)))
                (v128.store (local.get $out) (v128.load (local.get $source)))
                (local.set $out (i32.add (local.get $out) (i32.const 16)))
                (local.set $source (i32.add (local.get $source) (i32.const 16)))
                (br $vectors)))
            (block $rest_done
              (loop $numbers
                (br_if $rest_done (i32.ge_u (local.get $out) (local.get $end)))
                (f32.store (local.get $out) (f32.load (local.get $source)))
                (local.set $out (i32.add (local.get $out) (i32.const 4)))
                (local.set $source (i32.add (local.get $source) (i32.const 4)))
                (br $numbers)))
            (if (i32.lt_s (local.get $high) (global.get $kernel_columns))
              (then
                (local.set $out
                  (call $zeros (local.get $out) (i32.mul (i32.sub (global.get $kernel_columns) (local.get $high)) (global.get $channels)))))))
          (else (local.set $out (call $zeros (local.get $out) (i32.mul (global.get $kernel_columns) (global.get $channels))))))
        (local.set $y (i32.add (local.get $y) (i32.const 1)))
        (br_if $window (local.tee $rest (i32.sub (local.get $rest) (i32.const 1)))))
      (f32.store (local.get $out) (f32.const 1))
      (local.set $out
        (call $zeros
          (i32.add (local.get $out) (i32.const 4))
          (i32.sub (i32.shr_u (global.get $patch_bytes) (i32.const 2)) (call $gradient_rows))))
      (local.set $from (i32.add (local.get $from) (i32.const 1)))
      (br_if $each_position (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))

  ;; Writes `count` zeros (or none) and returns the address behind them.
  (func $zeros (param $out i32) (param $count i32) (result i32)
    (block $done
      (loop $numbers
        (br_if $done (i32.eqz (local.get $count)))
        (f32.store (local.get $out) (f32.const 0))
        (local.set $out (i32.add (local.get $out) (i32.const 4)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $numbers)))
    (local.get $out))

  ;; `count` rows of G, each padded with zeros to whole vectors.
  (func $pad (param $g i32) (param $count i32)
    (local $out i32)
    (local $bytes i32)
    (local.set $out (global.get $padded))
    (local.set $bytes (i32.shl (global.get $filters) (i32.const 2)))
    (loop $rows
      (local.set $out (call $copy (local.get $out) (local.get $g) (local.get $bytes)))
      (local.set $out
        (call $zeros (local.get $out) (i32.shr_u (i32.sub (global.get $filter_bytes) (local.get $bytes)) (i32.const 2))))
      (local.set $g (i32.add (local.get $g) (local.get $bytes)))
      (br_if $rows (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))

  ;; Copies one number after the other and returns the address behind them.
  (func $copy (param $out i32) (param $from i32) (param $bytes i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $out) (local.get $bytes)))
    (loop $numbers
      (f32.store (local.get $out) (f32.load (local.get $from)))
      (local.set $from (i32.add (local.get $from) (i32.const 4)))
      (br_if $numbers (i32.lt_u (local.tee $out (i32.add (local.get $out) (i32.const 4))) (local.get $end))))
    (local.get $out))

  ;; The product without its padding.
  (func $compact (param $out i32)
    (local $from i32)
    (local $rows i32)
    (if (i32.and (global.get $filters) (i32.const 3))
      (then
        (local.set $from (global.get $product))
        (local.set $rows (call $gradient_rows))
        (loop $each_row
          (local.set $out (call $copy (local.get $out) (local.get $from) (i32.shl (global.get $filters) (i32.const 2))))
          (local.set $from (i32.add (local.get $from) (global.get $filter_bytes)))
          (br_if $each_row (local.tee $rows (i32.sub (local.get $rows) (i32.const 1))))))
      (else (memory.copy (local.get $out) (global.get $product) (call $gradient_bytes)))))

  ;; Of the product (its padding is zero), in float64.
  (func $sum_of_squares (result f32)
    (local $at i32)
    (local $end i32)
    (local $four v128)
    (local $two v128)
    (local $sum v128)
    (local.set $at (global.get $product))
    (local.set $end (i32.add (local.get $at) (call $product_bytes)))
    (loop $vectors
      (local.set $four (v128.load (local.get $at)))
      (local.set $two (f64x2.promote_low_f32x4 (local.get $four)))
      (local.set $sum (f64x2.add (local.get $sum) (f64x2.mul (local.get $two) (local.get $two))))
      (local.set $two
        (f64x2.promote_low_f32x4
          (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $four) (local.get $four))))
      (local.set $sum (f64x2.add (local.get $sum) (f64x2.mul (local.get $two) (local.get $two))))
      (br_if $vectors (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    (f32.demote_f64 (f64.add (f64x2.extract_lane 0 (local.get $sum)) (f64x2.extract_lane 1 (local.get $sum)))))

  ;; product += patches' g over `count` positions, in tiles of 4 x 8 and, at the right edge, 4 x 4.
  (func $multiply (param $g i32) (param $count i32)
    (local $row i32) ;; of the product: bytes into a row of [P 1]
    (local $column i32) ;; bytes into a row of G
    (local $out i32)
    (local $p i32)
    (local $q i32)
    (local $left i32)
    (local $ga v128) (local $gb v128) (local $v v128)
    (local $a0 v128) (local $a1 v128) (local $a2 v128) (local $a3 v128)
    (local $b0 v128) (local $b1 v128) (local $b2 v128) (local $b3 v128)
    (local.set $out (global.get $product))
    (loop $rows
      (local.set $column (i32.const 0))
      (loop $columns
        (local.set $p (i32.add (global.get $patches) (local.get $row)))
        (local.set $q (i32.add (local.get $g) (local.get $column)))
        (local.set $left (local.get $count))
        (local.set $a0 (v128.const f32x4 0 0 0 0))
        (local.set $a1 (v128.const f32x4 0 0 0 0))
        (local.set $a2 (v128.const f32x4 0 0 0 0))
        (local.set $a3 (v128.const f32x4 0 0 0 0))
        (if (i32.ge_u (i32.sub (global.get $filter_bytes) (local.get $column)) (i32.const 32))
          (then
            (local.set $b0 (v128.const f32x4 0 0 0 0))
            (local.set $b1 (v128.const f32x4 0 0 0 0))
            (local.set $b2 (v128.const f32x4 0 0 0 0))
            (local.set $b3 (v128.const f32x4 0 0 0 0))
            (loop $wide
              (local.set $ga (v128.load (local.get $q)))
              (local.set $gb (v128.load offset=16 (local.get $q)))
              (local.set $v (v128.load32_splat (local.get $p)))
              (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (local.get $v) (local.get $ga))))
              (local.set $b0 (f32x4.add (local.get $b0) (f32x4.mul (local.get $v) (local.get $gb))))
              (local.set $v (v128.load32_splat offset=4 (local.get $p)))
              (local.set $a1 (f32x4.add (local.get $a1) (f32x4.mul (local.get $v) (local.get $ga))))
              (local.set $b1 (f32x4.add (local.get $b1) (f32x4.mul (local.get $v) (local.get $gb))))
              (local.set $v (v128.load32_splat offset=8 (local.get $p)))
              (local.set $a2 (f32x4.add (local.get $a2) (f32x4.mul (local.get $v) (local.get $ga))))
              (local.set $b2 (f32x4.add (local.get $b2) (f32x4.mul (local.get $v) (local.get $gb))))
              (local.set $v (v128.load32_splat offset=12 (local.get $p)))
              (local.set $a3 (f32x4.add (local.get $a3) (f32x4.mul (local.get $v) (local.get $ga))))
              (local.set $b3 (f32x4.add (local.get $b3) (f32x4.mul (local.get $v) (local.get $gb))))
              (local.set $p (i32.add (local.get $p) (global.get $patch_bytes)))
              (local.set $q (i32.add (local.get $q) (global.get $filter_bytes)))
              (br_if $wide (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
            (local.set $p (i32.add (local.get $out) (local.get $column)))
            (call $add (i32.add (local.get $p) (i32.const 16)) (local.get $b0) (local.get $b1) (local.get $b2) (local.get $b3))
            (call $add (local.get $p) (local.get $a0) (local.get $a1) (local.get $a2) (local.get $a3))
            (local.set $column (i32.add (local.get $column) (i32.const 32))))
          (else
            (loop $narrow
              (local.set $ga (v128.load (local.get $q)))
              (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (v128.load32_splat (local.get $p)) (local.get $ga))))
              (local.set $a1 (f32x4.add (local.get $a1) (f32x4.mul (v128.load32_splat offset=4 (local.get $p)) (local.get $ga))))
              (local.set $a2 (f32x4.add (local.get $a2) (f32x4.mul (v128.load32_splat offset=8 (local.get $p)) (local.get $ga))))
              (local.set $a3 (f32x4.add (local.get $a3) (f32x4.mul (v128.load32_splat offset=12 (local.get $p)) (local.get $ga))))
              (local.set $p (i32.add (local.get $p) (global.get $patch_bytes)))
              (local.set $q (i32.add (local.get $q) (global.get $filter_bytes)))
              (br_if $narrow (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
            (call $add (i32.add (local.get $out) (local.get $column)) (local.get $a0) (local.get $a1) (local.get $a2) (local.get $a3))
            (local.set $column (i32.add (local.get $column) (i32.const 16)))))
        (br_if $columns (i32.lt_u (local.get $column) (global.get $filter_bytes))))
      (local.set $out (i32.add (local.get $out) (i32.shl (global.get $filter_bytes) (i32.const 2))))
      (br_if $rows (i32.lt_u (local.tee $row (i32.add (local.get $row) (i32.const 16))) (global.get $patch_bytes)))))

  ;; Adds four vectors to four rows of the product, at the same column.
  (func $add (param $out i32) (param $a v128) (param $b v128) (param $c v128) (param $d v128)
    (v128.store (local.get $out) (f32x4.add (v128.load (local.get $out)) (local.get $a)))
    (local.set $out (i32.add (local.get $out) (global.get $filter_bytes)))
    (v128.store (local.get $out) (f32x4.add (v128.load (local.get $out)) (local.get $b)))
    (local.set $out (i32.add (local.get $out) (global.get $filter_bytes)))
    (v128.store (local.get $out) (f32x4.add (v128.load (local.get $out)) (local.get $c)))
    (local.set $out (i32.add (local.get $out) (global.get $filter_bytes)))
    (v128.store (local.get $out) (f32x4.add (v128.load (local.get $out)) (local.get $d)))))
