-- 0004_backward.sql - gradients: jobs made by the backward of another.

ALTER TABLE job ADD COLUMN parent BLOB;                         -- id of the job whose gradient it is; NULL: none
ALTER TABLE job ADD COLUMN no_grads INTEGER NOT NULL DEFAULT 0; -- 1: no gradient came, so nobody gives or gets
ALTER TABLE job ADD COLUMN mask TEXT;                           -- 'after', 'before' its linear part; NULL: none. Then
                                                                -- `inputs` has a second tensor a rank: the mask's
ALTER TABLE job ADD COLUMN mask_min INTEGER NOT NULL DEFAULT 0; -- 1: the smallest elements are kept, 0: the largest
ALTER TABLE job ADD COLUMN kept BLOB;                           -- 16 bytes a rank: ids of the tensors that its gradient
                                                                -- needs, once it succeeded; NULL: none
