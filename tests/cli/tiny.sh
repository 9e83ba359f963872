# tiny.sh - a model so small that workers run it in no time, and what its kernels are said to cost, for tests
# of orrery-run.
# shellcheck shell=bash

# The decoder `tiny`, and more ROWs.
tiny_models() { # FILE ROW...
    printf '%s\n' "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,positions,tied_lm_head,weight_bits,kv_bits,max_context" \
        "tiny,decoder,4,64,4,4,16,256,512,gelu,layer,learned,yes,32,32,256" "${@:2}" > "$1"
}

# It as a pipeline on d0 and d1.
tiny_pipeline() { # FILE
    printf '%s\n' "service,replica,stage,device,model,layers,block" "chat,0,0,d0,tiny,,embed" \
        "chat,0,0,d0,tiny,0-1,layer" "chat,0,1,d1,tiny,2-3,layer" "chat,0,1,d1,tiny,,lm_head" > "$1"
}

tiny_row() { # NS KERNEL,PHASE IMPL N,K,HEADS,KV_HEADS,HEAD_DIM [TOKENS]
    local m
    for m in 1 "${5:-64}"; do
        case $2 in
        attn,decode) echo "$2,$3,f32,1,$4,burst,1,$m,$1" ;;
        attn,prefill) echo "$2,$3,f32,1,$4,burst,$m,$m,$1" ;;
        *) echo "$2,$3,f32,1,$4,burst,$m,0,$1" ;;
        esac
    done
}

# costs/pc: each operator takes so many ns, whatever the size; of the whole model and, where PARTS are given, of its
# layers in so many parts.
tiny_costs() { # NS [PARTS...]
    local ns=$1 parts impl kernel
    shift
    mkdir -p costs/pc
    {
        echo "kernel,phase,impl,dtype,threads,gemm_n,gemm_k,heads,kv_heads,head_dim,regime,m_tokens,kv_len,mean_ns"
        for parts in 1 "$@"; do
            for impl in gemv gemm; do
                tiny_row "$ns" qkv,any $impl $((192 / parts)),64,0,0,0
                tiny_row "$ns" oproj,any $impl 64,$((64 / parts)),0,0,0
                tiny_row "$ns" ffn_up,any $impl $((256 / parts)),64,0,0,0
                tiny_row "$ns" ffn_down,any $impl 64,$((256 / parts)),0,0,0
                tiny_row "$ns" lmhead,any $impl $((512 / parts)),64,0,0,0
            done
            tiny_row "$ns" act,any c $((256 / parts)),0,0,0,0
            tiny_row "$ns" kvappend,any c 0,0,$((4 / parts)),$((4 / parts)),16
            tiny_row "$ns" attn,decode c 0,0,$((4 / parts)),$((4 / parts)),16
            tiny_row "$ns" attn,prefill c 0,0,$((4 / parts)),$((4 / parts)),16
        done
        for impl in gemv gemm; do tiny_row "$ns" lmhead,any $impl 64,64,0,0,0; done # an encoder's pooler
        for kernel in embed norm add fnorm; do tiny_row "$ns" $kernel,any c 64,0,0,0,0; done
    } > costs/pc/kernels.csv
}

# cluster: boards of type pc on a switch.
tiny_cluster() { # DEVICE...
    mkdir -p cluster
    printf '%s\n' device,type "${@/%/,pc}" > cluster/devices.csv
    printf 'medium,kind,node,bits_per_s,latency_s\nlan,switch,*,1e9,0.0001\n' > cluster/links.csv
}
